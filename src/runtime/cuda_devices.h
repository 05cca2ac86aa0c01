// The GPUs of this machine.
#pragma once

#include <c10/core/Device.h>

#include <cstddef>

#include "infinipipe/core/device.h"

namespace infinipipe {

// How many there are; 0 too where the build has no CUDA backend.
int cuda_devices();

// That of a rank, of which `place` counts those of the machine: GPUs are dealt out in turn. Throws
// RunError where there is none.
c10::Device rank_device(Device device, std::size_t place);

}  // namespace infinipipe
