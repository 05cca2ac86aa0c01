// The CPU allocator behind every tensor: counts live bytes per stage and purpose, and pools blocks
// so that a step does not spend its time on page faults. (Same step, 16K tokens: glibc's malloc
// loses a third of the time to page faults.)
//
// Every block has a 64-byte header with its size, meter and purpose, as a tensor may be freed on
// another thread than it was made on. Thread-safe throughout. Scratch memory inside MKL and oneDNN
// is not seen.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <atomic>
#include <cstdint>

#include "infinipipe/core/trace.h"

namespace infinipipe {

// Counts the bytes of one owner, in practice one stage. A meter lives as long as the process.
class MemoryMeter final {
 public:
  std::int64_t live() const { return total_.load(std::memory_order_relaxed); }
  std::int64_t live(MemoryPurpose purpose) const {
    return by_purpose_[static_cast<std::size_t>(purpose)].load(std::memory_order_relaxed);
  }
  // Highest live() since the last reset_peak().
  std::int64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  // Largest single allocation since the last reset_largest().
  std::int64_t largest() const { return largest_.load(std::memory_order_relaxed); }

  // Restarts peak() at live(); returns the peak before.
  std::int64_t reset_peak();
  void reset_largest() { largest_.store(0, std::memory_order_relaxed); }

  void add(MemoryPurpose purpose, std::int64_t bytes);  // negative: freed
  void note_largest(std::int64_t bytes);

 private:
  std::atomic<std::int64_t> total_{0};
  std::atomic<std::int64_t> peak_{0};
  std::atomic<std::int64_t> largest_{0};
  std::array<std::atomic<std::int64_t>, kMemoryPurposes> by_purpose_{};
};

struct MemoryOwner {
  MemoryMeter* meter = nullptr;
  MemoryPurpose purpose = MemoryPurpose::kWorkspace;
};

// Who owns what this thread allocates, until the scope ends. Without any scope, allocations go to
// unowned_meter().
class MemoryScope final {
 public:
  MemoryScope(MemoryMeter& meter, MemoryPurpose purpose);
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  MemoryOwner before_;
};

namespace memory {

// Makes this the allocator of LibTorch's CPU tensors. Once per process; further calls do nothing.
// Tensors that were made before are not counted, and are freed as they were made.
void install();
bool installed();

// Pooled (the default): freed blocks are kept by size class and handed out again. Plain: each block
// is malloc'ed and freed. May be changed at any time.
void set_pooled(bool pooled);
bool pooled();

// acquire_meter() gives a meter that counts 0 bytes; release_meter() gives it back, when its
// tensors are gone or nobody wants to count them any more.
MemoryMeter& acquire_meter();
void release_meter(MemoryMeter& meter);
MemoryMeter& unowned_meter();
// Who owns what this thread allocates now. Its meter is never null.
MemoryOwner current_owner();

// Moves the bytes of the tensor's storage to another owner. Does nothing for a storage that is
// counted neither by this allocator nor by that of a device (runtime/device_meter.h).
void assign(const at::Tensor& tensor, MemoryMeter& meter, MemoryPurpose purpose);

// Bytes of free blocks that the pool holds.
std::int64_t pooled_bytes();
// Frees pooled blocks, largest first, until at most `keep` bytes of them are left.
void trim(std::int64_t keep = 0);

}  // namespace memory

}  // namespace infinipipe
