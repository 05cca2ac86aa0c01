#include "runtime/cuda_devices.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/AllocatorConfig.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <cstdlib>
#include <string>

#include "infinipipe/base/error.h"
#include "model/common/dtype.h"

namespace infinipipe {
namespace {

// Which of the two it is: a build without CUDA, or a driver that shows nothing.
std::string no_gpu_reason() {
  if (!at::detail::getCUDAHooks().hasCUDART()) return "but this program is built without CUDA";
  return "but the driver shows no GPU (nvidia-smi says why)";
}

}  // namespace

int cuda_devices() {
  return at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
}

c10::Device rank_device(Device device, std::size_t place) {
  const c10::DeviceType type = device_type(device);
  if (type == at::kCPU) return type;
  const int devices = cuda_devices();
  if (devices == 0) {
    throw RunError("config: runtime.device", "found " + std::string(to_string(device)),
                   no_gpu_reason(), "use --runtime.device " + std::string(to_string(Device::kCpu)));
  }
  return {type, static_cast<c10::DeviceIndex>(place % static_cast<std::size_t>(devices))};
}

std::int64_t reserved_bytes(c10::Device device) {
  if (device.is_cpu()) return 0;
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  constexpr auto kAll = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  return stats.reserved_bytes[kAll].current;
}

void release_cached(c10::Device device) {
  if (!device.is_cpu()) c10::getDeviceAllocator(device.type())->emptyCache();
}

void prefer_growing_segments() {
  for (const char* name : {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"})
    if (std::getenv(name) != nullptr) return;
  c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
}

}  // namespace infinipipe
