#include "runtime/cuda_devices.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <string>

#include "infinipipe/base/error.h"
#include "model/common/dtype.h"

namespace infinipipe {

int cuda_devices() {
  return at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
}

c10::Device rank_device(Device device, std::size_t place) {
  const c10::DeviceType type = device_type(device);
  if (type == at::kCPU) return type;
  const int devices = cuda_devices();
  if (devices == 0) {
    throw RunError("config: runtime.device", "found " + std::string(to_string(device)),
                   "but this machine or build has no GPU",
                   "use --runtime.device " + std::string(to_string(Device::kCpu)));
  }
  return {type, static_cast<c10::DeviceIndex>(place % static_cast<std::size_t>(devices))};
}

}  // namespace infinipipe
