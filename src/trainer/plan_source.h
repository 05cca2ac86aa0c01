// One plan per step, with the time that training waited for it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "infinipipe/core/plan.h"
#include "infinipipe/planner/planner.h"

namespace infinipipe {

// Plans of steps [first, end), taken in order by one thread.
class PlanSource final {
 public:
  PlanSource(std::shared_ptr<const Planner> planner,
             std::function<std::vector<Tokens>(int)> lengths, int first, int end, int ahead);
  ~PlanSource();

  struct Ready {
    Plan plan;
    Seconds waited = 0.0;
  };
  // Rethrows what planning threw.
  Ready take(int step);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace infinipipe
