// Planners by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "infinipipe/cost/evaluator.h"
#include "infinipipe/planner/planner.h"

namespace infinipipe {

// Names that make_planner knows: those of planners(), in its order.
std::vector<std::string> planner_names();

// Throws InputError where the configuration names no planner (the nearest is said) or a
// recompute_keeps that is none.
void require_known_planner(const PlanContext& context);

// `evaluator` judges candidates and must use the same memory limit as the context (0 in the context
// means the profile's device memory). Throws InputError as require_known_planner() does, where
// there are more stages than layers, and for `slices` or `chunk_tokens` below 1.
//
// `recompute_keeps` says what recomputed layers keep. With the name of a level, plan() throws
// InputError where the profile does not know what that level costs; an evaluation, which recomputes
// nothing, is planned all the same. With "auto", a planner whose row says so mixes all levels that
// the profile knows; others recompute whole layers.
std::unique_ptr<Planner> make_planner(const PlanContext& context,
                                      std::shared_ptr<const Evaluator> evaluator);

}  // namespace infinipipe
