#include "model/common/stage_context.h"

#include <c10/core/impl/VirtualGuardImpl.h>

namespace infinipipe {

double now_seconds(const at::Device& device) {
  if (!device.is_cpu()) {
    const c10::impl::VirtualGuardImpl guard(device.type());
    guard.synchronizeDevice(device.index() < 0 ? guard.getDevice().index() : device.index());
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// An event that keeps its time, on what the device does now.
c10::Event Stopwatch::mark() const {
  c10::Event event(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
  event.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  return event;
}

void Stopwatch::start() {
  if (device_.is_cpu()) {
    begin_ = now_seconds(device_);
  } else {
    begin_mark_ = mark();
  }
}

void Stopwatch::stop() {
  if (device_.is_cpu()) {
    seconds_ += now_seconds(device_) - begin_;
  } else {
    stretches_.emplace_back(std::move(*begin_mark_), mark());
  }
}

double Stopwatch::take_seconds() {
  for (const auto& [begin, end] : stretches_) {
    end.synchronize();
    constexpr double kMilliseconds = 1e-3;
    seconds_ += kMilliseconds * begin.elapsedTime(end);
  }
  stretches_.clear();
  return std::exchange(seconds_, 0.0);
}

}  // namespace infinipipe
