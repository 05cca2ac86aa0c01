// A planner for a machine whose speed drifts.
#pragma once

#include <memory>

#include "infinipipe/planner/planner.h"

namespace infinipipe {

// Plans as the judged planner of `context` does, for stages at request.stage_pace. Only what stages
// differ by changes decisions, and only beyond kSamePace, so that a machine that is slower as a
// whole, or noisy, gets the same plans; predicted times follow the whole pace.
std::unique_ptr<Planner> make_paced_planner(const PlanContext& context);

inline constexpr double kSamePace = 0.05;

}  // namespace infinipipe
