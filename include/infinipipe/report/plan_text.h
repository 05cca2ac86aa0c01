// A plan in words and tables, for people.
#pragma once

#include <string>

#include "infinipipe/core/plan.h"

namespace infinipipe {

// One line: what the plan does and what it is predicted to cost.
std::string plan_line(const Plan& plan);

// Several lines: what was cut, packed and recomputed, each stage's time and memory, and the
// candidates that the planner looked at. The plan must be valid.
std::string explain_plan(const Plan& plan);

}  // namespace infinipipe
