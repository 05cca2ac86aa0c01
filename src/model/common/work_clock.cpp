#include "model/common/work_clock.h"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace infinipipe {

double now_seconds(const at::Device& device) {
  if (!device.is_cpu()) {
    const c10::impl::VirtualGuardImpl guard(device.type());
    guard.synchronizeDevice(device.index() < 0 ? guard.getDevice().index() : device.index());
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace infinipipe
