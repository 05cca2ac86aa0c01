// Between tensors and the fused kernels' plain work.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <initializer_list>
#include <optional>

#include "infinipipe/base/error.h"
#include "model/common/fused/launchers.h"

namespace infinipipe::fused {

// Nothing for a dtype without fused kernels.
inline std::optional<Type> type_of(at::ScalarType type) {
  if (type == at::kFloat) return Type::kFloat32;
  if (type == at::kBFloat16) return Type::kBfloat16;
  return std::nullopt;
}

// Whether those that are defined begin at a multiple of 16 bytes and have no gaps.
inline bool packed(std::initializer_list<at::Tensor> tensors) {
  for (const at::Tensor& each : tensors)
    if (each.defined() && !(each.is_contiguous() && aligned(each.const_data_ptr()))) return false;
  return true;
}

// Starts it on the current stream of the tensor's device. Throws RunError with the device's reason.
template <class Work>
void start(Launchers::Start<Work> launcher, const Work& work, const at::Tensor& on) {
  const c10::Device device = on.device();
  const c10::DeviceGuard guard(device);
  void* stream = nullptr;
  if (!device.is_cpu())  // which has no streams; tests run the kernels there
    stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
  if (const char* error = launcher(work, stream)) throw RunError("the GPU", error);
}

}  // namespace infinipipe::fused
