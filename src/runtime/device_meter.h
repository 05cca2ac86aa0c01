// The memory meter on GPUs: counts what LibTorch's caching allocator hands out, per stage and
// purpose, as runtime/allocator.h does for the CPU. Bytes are the allocator's own (whole blocks:
// multiples of 512, and more where a remainder was too small to split off), so that a stage's peak
// is what it takes of the device, cached free blocks left out.
//
// The caching allocator reports each block it gives or takes back to the calling thread's memory
// reporter; no CUDA header is needed, and any device whose allocator reports is counted. The
// reporter sits in the slot of LibTorch's profiler: on a thread with reports nobody may ask that
// whether it is enabled (it would take the reporter for its own state).
#pragma once

#include <c10/util/ThreadLocalDebugInfo.h>

#include "runtime/allocator.h"

namespace infinipipe {

// While it lives, blocks that this thread takes from a device count for the thread's MemoryScope,
// and those that it gives back are taken off their owner. A block that is given back on a thread
// without reports stays counted until the device hands the same address out again. Must end on the
// thread that it began on. Threads may share blocks.
class DeviceReports final {
 public:
  DeviceReports();
  DeviceReports(const DeviceReports&) = delete;
  DeviceReports& operator=(const DeviceReports&) = delete;

 private:
  c10::DebugInfoGuard guard_;
};

namespace memory {

// assign() for a device's block by its address; false for one that was never reported.
bool assign_device(const void* data, MemoryMeter& meter, MemoryPurpose purpose);

}  // namespace memory

}  // namespace infinipipe
