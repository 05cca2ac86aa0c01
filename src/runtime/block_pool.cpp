#include "runtime/block_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>

namespace infinipipe {

namespace {

constexpr std::size_t kSteps = 4;  // classes per power of two
constexpr std::size_t kHugePage = std::size_t{2} << 20;

void* allocate_block(std::size_t bytes) {
  const bool huge = bytes >= 2 * kHugePage;
  void* data = nullptr;
  if (posix_memalign(&data, huge ? kHugePage : 4096, bytes) != 0) return nullptr;
  if (huge) madvise(data, bytes, MADV_HUGEPAGE);  // a hint: failure changes nothing
  return data;
}

}  // namespace

std::size_t BlockPool::class_bytes(std::size_t size_class) {
  const std::size_t base = kSmallest << (size_class / kSteps);
  return base + base / kSteps * (size_class % kSteps);
}

std::size_t BlockPool::class_of(std::size_t bytes) {
  if (bytes <= kSmallest) return 0;
  const auto power = static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;  // 2^power < bytes
  const std::size_t base = std::size_t{1} << power;
  const std::size_t step = base / kSteps;
  const std::size_t above = (bytes - base + step - 1) / step;  // 1..kSteps
  const auto smallest = static_cast<std::size_t>(std::bit_width(kSmallest)) - 1;
  return (power - smallest) * kSteps + above;
}

BlockPool::Block BlockPool::take(std::size_t bytes) {
  const std::size_t size_class = class_of(bytes);
  if (size_class >= kClasses) throw std::bad_alloc();
  const std::size_t last = std::min(size_class + kSteps, kClasses - 1);
  for (std::size_t c = size_class; c <= last; ++c) {
    FreeList& list = lists_[c];
    const std::lock_guard lock(list.mutex);
    if (list.blocks.empty()) continue;
    void* data = list.blocks.back();
    list.blocks.pop_back();
    free_bytes_.fetch_sub(static_cast<std::int64_t>(class_bytes(c)), std::memory_order_relaxed);
    return {data, c};
  }
  void* data = allocate_block(class_bytes(size_class));
  if (data == nullptr) {
    trim(0);
    data = allocate_block(class_bytes(size_class));
    if (data == nullptr) throw std::bad_alloc();
  }
  return {data, size_class};
}

void BlockPool::give(const Block& block) noexcept {
  FreeList& list = lists_[block.size_class];
  const std::lock_guard lock(list.mutex);
  try {
    list.blocks.push_back(block.data);
    free_bytes_.fetch_add(static_cast<std::int64_t>(class_bytes(block.size_class)),
                          std::memory_order_relaxed);
  } catch (const std::bad_alloc&) {
    std::free(block.data);
  }
}

void BlockPool::trim(std::int64_t keep) {
  for (std::size_t c = kClasses; c-- > 0;) {
    FreeList& list = lists_[c];
    const auto bytes = static_cast<std::int64_t>(class_bytes(c));
    const std::lock_guard lock(list.mutex);
    while (!list.blocks.empty() && free_bytes() > keep) {
      std::free(list.blocks.back());
      list.blocks.pop_back();
      free_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    }
  }
}

}  // namespace infinipipe
