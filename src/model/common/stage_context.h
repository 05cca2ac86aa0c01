// What a stage's parts share: how they compute, and time by kind of work, which costs nothing while
// it is off.
#pragma once

#include <c10/core/Event.h>

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "model/common/compute_path.h"
#include "model/common/stage_model.h"

namespace infinipipe {

// Seconds since an arbitrary start. `device` is synchronised first if it is a GPU.
double now_seconds(const at::Device& device);

// Adds up stretches of a stage's work. On a GPU events on its current stream mark them, so that
// nothing waits before take_seconds().
class Stopwatch final {
 public:
  explicit Stopwatch(at::Device device) : device_(device) {}

  void start();
  void stop();
  // The seconds of all stretches that ended since the last call.
  double take_seconds();

 private:
  c10::Event mark() const;

  at::Device device_;
  double begin_ = 0.0;
  double seconds_ = 0.0;
  // On a GPU: where the stretch that runs began, and both ends of those that were not read yet.
  std::optional<c10::Event> begin_mark_;
  std::vector<std::pair<c10::Event, c10::Event>> stretches_;
};

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

// The same for exchanges between shards, which a stopwatch adds up besides.
class ExchangeTimer final {
 public:
  ExchangeTimer(PartTimes* times, Stopwatch* watch, const at::Device& device)
      : part_(times, &PartTimes::exchange, device), watch_(watch) {
    if (watch_ != nullptr) watch_->start();
  }
  ~ExchangeTimer() {
    if (watch_ != nullptr) watch_->stop();
  }
  ExchangeTimer(const ExchangeTimer&) = delete;
  ExchangeTimer& operator=(const ExchangeTimer&) = delete;

 private:
  PartTimer part_;
  Stopwatch* watch_;
};

struct StageContext {
  ComputePath path;
  PartTimes* times = nullptr;  // null: nothing is timed
  at::Device device = at::kCPU;
  Stopwatch* exchanges = nullptr;  // null: not those of what runs now

  PartTimer matmul() const { return {times, &PartTimes::matmul, device}; }
  PartTimer attention() const { return {times, &PartTimes::attention, device}; }
  PartTimer elementwise() const { return {times, &PartTimes::elementwise, device}; }
  ExchangeTimer exchange() const { return {times, exchanges, device}; }
  PartTimer head() const { return {times, &PartTimes::head, device}; }
};

}  // namespace infinipipe
