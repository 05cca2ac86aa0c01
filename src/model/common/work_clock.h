// Time by kind of work inside a stage; costs nothing while it is off.
#pragma once

#include <chrono>

#include "model/common/stage_model.h"

namespace infinipipe {

// Seconds since an arbitrary start. `device` is synchronised first if it is a GPU.
double now_seconds(const at::Device& device);

// Adds the time between construction and destruction to one of PartTimes' members. Not to be
// nested.
class PartTimer final {
 public:
  PartTimer(PartTimes* times, double PartTimes::*part, const at::Device& device)
      : times_(times), part_(part), device_(device) {
    if (times_ != nullptr) begin_ = now_seconds(device_);
  }
  ~PartTimer() {
    if (times_ != nullptr) times_->*part_ += now_seconds(device_) - begin_;
  }
  PartTimer(const PartTimer&) = delete;
  PartTimer& operator=(const PartTimer&) = delete;

 private:
  PartTimes* times_;
  double PartTimes::*part_;
  at::Device device_;
  double begin_ = 0.0;
};

// What a stage's parts share: whose clock, if any, runs.
struct WorkClock {
  PartTimes* times = nullptr;  // null: off
  at::Device device = at::kCPU;

  PartTimer matmul() const { return {times, &PartTimes::matmul, device}; }
  PartTimer attention() const { return {times, &PartTimes::attention, device}; }
  PartTimer elementwise() const { return {times, &PartTimes::elementwise, device}; }
  PartTimer head() const { return {times, &PartTimes::head, device}; }
};

}  // namespace infinipipe
