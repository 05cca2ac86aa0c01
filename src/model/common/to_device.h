// From the processor's memory to a device's.
#pragma once

#include <ATen/core/Tensor.h>

namespace infinipipe {

// The tensor on the device. Nothing waits for a GPU: the copy begins from pinned memory, when its
// turn comes. A tensor that is for the processor is returned as it is.
at::Tensor to_device(const at::Tensor& host, at::Device device);

}  // namespace infinipipe
