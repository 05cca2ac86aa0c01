// Runs a fused kernel's blocks on host threads, a thread for each of a GPU's: what the kernel's
// context (src/model/common/fused/context.h) promises, and no more. The thread sanitizer sees a
// race where a barrier is missing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <thread>
#include <type_traits>
#include <vector>

namespace infinipipe::testing {

// Not std::barrier: its sleeping threads meet in a table that all barriers share, and that order
// hides races from the sanitizer.
class HostBarrier {
 public:
  explicit HostBarrier(int threads) : threads_(threads) {}

  void wait() {
    const unsigned round = round_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.fetch_add(1, std::memory_order_release);
    }
    while (round_.load(std::memory_order_acquire) == round) std::this_thread::yield();
  }

 private:
  int threads_;
  std::atomic<int> arrived_ = 0;
  std::atomic<unsigned> round_ = 0;
};

// What the threads of a block have in common.
class HostBlock {
 public:
  explicit HostBlock(int threads) : all(threads) {
    for (int begin = 0; begin < threads; begin += kWarp) warps.emplace_back();
  }

  static constexpr int kWarp = 32;
  struct Warp {
    HostBarrier meet{kWarp};
    unsigned char slots[2][kWarp][sizeof(double)];
  };
  HostBarrier all;
  std::deque<Warp> warps;
};

class HostContext {
 public:
  // The `without`-th barrier of each block is left out, to show that it is missed; -1: none.
  HostContext(HostBlock& shared, int thread, int without)
      : shared_(shared), thread_(thread), without_(without) {}

  void begin(std::int64_t block) { block_ = block, barriers_ = 0; }

  int thread() const { return thread_; }
  std::int64_t block() const { return block_; }
  void sync() {
    if (barriers_++ != without_) shared_.all.wait();
  }
  // Two slots in turn: a thread writes a slot again only after a barrier that its readers of the
  // last time have passed.
  template <class T>
  T shuffle_xor(T value, int mask) {
    HostBlock::Warp& warp = shared_.warps[static_cast<std::size_t>(thread_ / HostBlock::kWarp)];
    auto& slots = warp.slots[turn_];
    turn_ = 1 - turn_;
    const int lane = thread_ % HostBlock::kWarp;
    std::memcpy(slots[lane], &value, sizeof(T));
    warp.meet.wait();
    std::memcpy(&value, slots[lane ^ mask], sizeof(T));
    return value;
  }

 private:
  HostBlock& shared_;
  int thread_;
  int without_;
  std::int64_t block_ = 0;
  int barriers_ = 0;
  int turn_ = 0;
};

// Blocks run one after the other; what they share begins as NaN.
struct HostRun {
  int without_barrier = -1;

  template <class Kernel>
  void operator()(const Kernel& kernel, std::int64_t blocks) const {
    static_assert(Kernel::kThreads % HostBlock::kWarp == 0);
    HostBlock block(Kernel::kThreads);
    HostBarrier turn(Kernel::kThreads);
    typename Kernel::Shared shared;
    const auto run = [&](int thread) {
      HostContext context(block, thread, without_barrier);
      for (std::int64_t b = 0; b < blocks; ++b) {
        if constexpr (!std::is_empty_v<typename Kernel::Shared>) {
          if (thread == 0) std::memset(static_cast<void*>(&shared), 0xff, sizeof shared);
        }
        turn.wait();
        context.begin(b);
        kernel(context, shared);
        turn.wait();
      }
    };
    std::vector<std::jthread> threads;
    for (int i = 0; i < Kernel::kThreads; ++i) threads.emplace_back(run, i);
  }
};

}  // namespace infinipipe::testing
