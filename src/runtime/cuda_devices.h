// The GPUs of this machine.
#pragma once

#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>

#include "infinipipe/core/device.h"

namespace infinipipe {

// How many there are; 0 too where the build has no CUDA backend.
int cuda_devices();

// That of a rank, of which `place` counts those of the machine: GPUs are dealt out in turn. Throws
// RunError where there is none.
c10::Device rank_device(Device device, std::size_t place);

// Bytes that the device's caching allocator has taken: live ones, and free ones that it keeps. 0 on
// the processor.
std::int64_t reserved_bytes(c10::Device device);
// Gives the device those that are free, so that others find them.
void release_cached(c10::Device device);

// Lets the allocator grow its segments in place, as lengths that change each step would otherwise
// leave gaps that nothing fits. Not where PYTORCH_ALLOC_CONF or PYTORCH_CUDA_ALLOC_CONF is set:
// whoever set it has decided. Before the first tensor on a GPU.
void prefer_growing_segments();

}  // namespace infinipipe
