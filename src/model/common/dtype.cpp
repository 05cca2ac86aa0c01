#include "model/common/dtype.h"

#include "infinipipe/base/error.h"

namespace infinipipe {

at::ScalarType scalar_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::kFloat64:
      return at::kDouble;
    case Dtype::kFloat32:
      return at::kFloat;
    case Dtype::kBfloat16:
      return at::kBFloat16;
  }
  INFINIPIPE_ASSERT(false, "a dtype without a type of LibTorch's");
  return at::kFloat;
}

c10::DeviceType device_type(Device device) {
  switch (device) {
    case Device::kCpu:
      return c10::DeviceType::CPU;
    case Device::kCuda:
      return c10::DeviceType::CUDA;
  }
  INFINIPIPE_ASSERT(false, "a device without a type of LibTorch's");
  return c10::DeviceType::CPU;
}

}  // namespace infinipipe
