// A planner for a machine whose speed drifts.
#pragma once

#include <memory>

#include "infinipipe/planner/planner.h"

namespace infinipipe {

// Plans as the judged planner of `context` does, for stages at request.stage_pace: predicted times
// follow it. With `decides` it changes decisions, too, where stages differ from each other, and
// only beyond kSamePace, so that a machine that is slower as a whole, or noisy, gets the same
// plans.
std::unique_ptr<Planner> make_paced_planner(const PlanContext& context, bool decides);

inline constexpr double kSamePace = 0.05;

}  // namespace infinipipe
