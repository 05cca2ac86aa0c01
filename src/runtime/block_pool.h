// Free blocks by size class, for the allocator.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace infinipipe {

// Size classes are four to a power of two, from 4 KiB: at most a fifth of a block is unused. A
// request takes the newest free block of its class or of the next ones, up to twice its size,
// before new memory: lengths differ from step to step, and a pool of exact sizes only would grow
// with every new one. Large blocks are aligned to and advised for huge pages. Thread-safe.
class BlockPool final {
 public:
  static constexpr std::size_t kClasses = 4 * 40;
  static constexpr std::size_t kSmallest = 4096;

  BlockPool() = default;
  ~BlockPool() { trim(0); }
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  struct Block {
    void* data = nullptr;
    std::size_t size_class = 0;
  };
  // At least `bytes`, aligned to 64 at least. Throws std::bad_alloc.
  Block take(std::size_t bytes);
  void give(const Block& block) noexcept;

  std::int64_t free_bytes() const { return free_bytes_.load(std::memory_order_relaxed); }
  // Frees blocks, largest first, until at most `keep` bytes are left.
  void trim(std::int64_t keep);

  // The smallest class that holds `bytes`, and its block size.
  static std::size_t class_of(std::size_t bytes);
  static std::size_t class_bytes(std::size_t size_class);

 private:
  struct FreeList {
    std::mutex mutex;
    std::vector<void*> blocks;
  };

  std::array<FreeList, kClasses> lists_;
  std::atomic<std::int64_t> free_bytes_{0};
};

}  // namespace infinipipe
