// What the fused kernels are written in: templates over a context, so that one source runs as a
// GPU's block of threads (cuda/launch.cuh) and as a block of host threads in the tests
// (tests/support/host_block.h).
//
// A kernel is a struct of its arguments with
//   static constexpr int kThreads;   threads of a block, a multiple of 32
//   struct Shared;                   what the threads of a block share, not initialised
//   void operator()(Context&, Shared&) const;   run by every thread of every block
// and a context gives
//   int thread()                     number of this thread within its block
//   std::int64_t block()             number of the block
//   void sync()                      waits for the block's threads
//   T shuffle_xor(T, int mask)       the value of the thread whose number differs by `mask`; all 32
//                                    threads of a warp must call it together
//
// No allocation, no ATen, raw pointers. Sums have an order that the shapes alone fix.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define INFINIPIPE_KERNEL __device__ __forceinline__
#define INFINIPIPE_UNROLL _Pragma("unroll")
#else
#define INFINIPIPE_KERNEL inline
#define INFINIPIPE_UNROLL
#endif

namespace infinipipe::fused {

constexpr int kWarp = 32;

struct Sum {
  template <class T>
  INFINIPIPE_KERNEL T operator()(T a, T b) const {
    return a + b;
  }
};
struct Most {  // passes over NaN
  INFINIPIPE_KERNEL float operator()(float a, float b) const { return fmaxf(a, b); }
};

// `combine` over the values of kWidth neighbouring threads of a warp, the same bits in all of them.
template <int kWidth, class Combine, class Context, class T>
INFINIPIPE_KERNEL T combine_lanes(Context& context, T value) {
  static_assert(kWidth <= kWarp && (kWidth & (kWidth - 1)) == 0);
  INFINIPIPE_UNROLL
  for (int mask = kWidth / 2; mask > 0; mask /= 2)
    value = Combine{}(value, context.shuffle_xor(value, mask));
  return value;
}

// The same over a block of kThreads threads; `slots` may be used again when it returns.
template <int kThreads, class Combine, class Context, class T>
INFINIPIPE_KERNEL T combine_block(Context& context, T value, T (&slots)[kThreads / kWarp]) {
  value = combine_lanes<kWarp, Combine>(context, value);
  if (context.thread() % kWarp == 0) slots[context.thread() / kWarp] = value;
  context.sync();
  T result = slots[0];
  INFINIPIPE_UNROLL
  for (int warp = 1; warp < kThreads / kWarp; ++warp) result = Combine{}(result, slots[warp]);
  context.sync();
  return result;
}

// Where a thread stands if every row is dealt out to `parts` blocks of kThreads threads, one item a
// thread. Blocks are fewer than 2^31.
struct PartOfRow {
  std::int64_t row;
  int item;  // within the row
};
template <int kThreads, class Context>
INFINIPIPE_KERNEL PartOfRow part_of_row(Context& context, int parts) {
  const auto block = static_cast<std::uint32_t>(context.block());
  const auto divisor = static_cast<std::uint32_t>(parts);
  return {block / divisor, static_cast<int>(block % divisor) * kThreads + context.thread()};
}

}  // namespace infinipipe::fused
