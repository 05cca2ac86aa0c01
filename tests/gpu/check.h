// What the steps of gpu_check share: what they run on, how they say what they found, and timing.
#pragma once

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/random.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/device.h"

namespace infinipipe::gpu_check {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// On the processor every step runs small, to show that it would run.
struct Setting {
  Device device = Device::kCpu;
  double seconds = 30.0;  // to take; what no longer fits is left out, and said
  std::string card;       // the GPU's name, as its driver tells
  bool plain = false;     // the processor's own operations, to compare with
  bool small = false;     // few and small cases: for compute-sanitizer, and on the processor

  bool gpu() const { return device == Device::kCuda; }
  at::Device tensors() const { return gpu() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU); }
  at::TensorOptions of(at::ScalarType type) const {
    return at::TensorOptions().dtype(type).device(tensors());
  }
};

// A line a finding for people, an object a line for programs, both written at once: what was found
// stays if the step is ended.
class Report final {
 public:
  Report(std::string step, const std::string& file, double seconds)
      : step_(std::move(step)), until_(now() + seconds) {
    if (!file.empty()) out_.open(file, std::ios::app);
  }

  // What must not exceed a bound; a NaN does.
  void at_most(const std::string& name, double found, double bound) {
    const bool ok = found <= bound;
    right_ = right_ && ok;
    std::printf("  %-46s %9.2e <= %.1e  %s\n", name.c_str(), found, bound, ok ? "ok" : "WRONG");
    write({{"name", name}, {"error", number(found)}, {"bound", bound}, {"ok", ok}});
  }
  void holds(const std::string& name, bool ok, const std::string& detail = {}) {
    right_ = right_ && ok;
    std::printf("  %-46s %s  %s\n", name.c_str(), ok ? "ok" : "WRONG", detail.c_str());
    write({{"name", name}, {"ok", ok}, {"detail", detail}});
  }
  // What was measured, in the unit of its base: bytes or FLOPs a second, seconds, bytes.
  void value(const std::string& name, double found, const std::string& unit) {
    const double shown = unit == "B/s" ? found / 1e9 : unit == "FLOP/s" ? found / 1e12 : found;
    const char* as = unit == "B/s" ? "GB/s" : unit == "FLOP/s" ? "TFLOP/s" : unit.c_str();
    std::printf("  %-46s %11.4g %s\n", name.c_str(), shown, as);
    write({{"name", name}, {"value", number(found)}, {"unit", unit}});
  }
  void skipped(const std::string& name, const std::string& why) {
    std::printf("  %-46s skipped: %s\n", name.c_str(), why.c_str());
    write({{"name", name}, {"skipped", why}});
  }
  // Whether the step may begin something more.
  bool has_time() const { return now() < until_; }
  bool right() const { return right_; }

 private:
  static Json number(double x) { return std::isfinite(x) ? Json(x) : Json(); }
  void write(Json line) {
    std::fflush(stdout);
    if (!out_.is_open()) return;
    line["step"] = step_;
    out_ << line.dump() << std::endl;
  }

  std::string step_;
  double until_;
  std::ofstream out_;
  bool right_ = true;
};

inline void synchronize(const Setting& setting) {
  if (!setting.gpu()) return;
  c10::impl::VirtualGuardImpl(at::kCUDA).synchronizeDevice(0);
}

// The median seconds of a call of work(i), i counted up so that it can rotate its inputs: on a GPU
// by events around each, after two calls that are not counted.
template <class Work>
double median_seconds(const Setting& setting, int repeats, const Work& work) {
  std::vector<double> seconds;
  int i = 0;
  for (; i < 2; ++i) work(i);
  synchronize(setting);
  if (setting.gpu()) {
    const c10::impl::VirtualGuardImpl guard(at::kCUDA);
    const c10::Stream stream = guard.getStream(setting.tensors());
    std::vector<c10::Event> events;
    for (int e = 0; e < 2 * repeats; ++e)
      events.emplace_back(at::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
    for (std::size_t e = 0; e < events.size(); e += 2) {
      events[e].record(stream);
      work(i++);
      events[e + 1].record(stream);
    }
    synchronize(setting);
    for (std::size_t e = 0; e < events.size(); e += 2)
      seconds.push_back(1e-3 * events[e].elapsedTime(events[e + 1]));
  } else {
    for (int e = 0; e < repeats; ++e) {
      const double begin = now();
      work(i++);
      seconds.push_back(now() - begin);
    }
  }
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[static_cast<std::size_t>(repeats / 2)];
}

// So many copies of an input of `bytes` that a GPU's cache of 50 MB does not hold them.
inline int rotated(double bytes) {
  return static_cast<int>(std::clamp(std::ceil(2e8 / bytes), 2.0, 16.0));
}

// Normal numbers, the same on every device.
inline at::Tensor random_numbers(Random& random, at::IntArrayRef sizes) {
  at::Tensor tensor = at::empty(sizes, at::kDouble);
  auto* const data = tensor.data_ptr<double>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) data[i] = random.normal();
  return tensor;
}

// |found - expected| / |expected|, wherever they are.
inline double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  const at::Tensor a = found.to(at::kCPU).to(at::kDouble);
  const at::Tensor b = expected.to(at::kCPU).to(at::kDouble);
  const double difference = (a - b).norm().item<double>();
  return difference == 0.0 ? 0.0 : difference / b.norm().item<double>();
}

// The largest error of each name over many cases; a NaN is larger than all.
class Worst final {
 public:
  void add(const std::string& name, double error) {
    for (auto& [known, largest] : found_) {
      if (known != name) continue;
      if (!(error <= largest)) largest = error;
      return;
    }
    found_.emplace_back(name, error);
  }
  void tell(Report& report, double bound) const {
    for (const auto& [name, largest] : found_) report.at_most(name, largest, bound);
  }

 private:
  std::vector<std::pair<std::string, double>> found_;
};

// One function a step.
void check_device(const Setting& setting, Report& report);
void measure_ceilings(const Setting& setting, Report& report);
void check_attention(const Setting& setting, Report& report);
void check_kernels(const Setting& setting, Report& report);
void check_model(const Setting& setting, Report& report);
void check_meter(const Setting& setting, Report& report);
void measure_operations(const Setting& setting, Report& report);

}  // namespace infinipipe::gpu_check
