// The time that planning took.
#pragma once

#include <chrono>

#include "infinipipe/core/plan.h"

namespace infinipipe {

// The plan that `make` returns, with its wall time in planner.seconds.
template <class Make>
Plan timed_plan(const Make& make) {
  const auto started = std::chrono::steady_clock::now();
  Plan plan = make();
  plan.planner.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return plan;
}

}  // namespace infinipipe
