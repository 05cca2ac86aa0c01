// Planners by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "infinipipe/cost/evaluator.h"
#include "infinipipe/planner/planner.h"

namespace infinipipe {

// Names that make_planner knows: "epp" (elastic: the default), "epp-1f1b" (the same search
// restricted to the paper's method), "1f1b" (whole sequences packed), "seq1f1b" (slices of one
// size, tuned), "seq1f1b-fixed" (one given slice size, all layers recomputed or none, layers spread
// evenly), "mepipe" (slices, weight gradients held back to fill waits), "gpipe".
std::vector<std::string> planner_names();

// Throws InputError where the configuration names no planner (the nearest is said) or a
// recompute_keeps that is none.
void require_known_planner(const PlanContext& context);

// `evaluator` judges candidates and must use the same memory limit as the context (0 in the context
// means the profile's device memory). Throws InputError as require_known_planner() does, for stages
// that the layers cannot fill, and for `slices` or `chunk_tokens` below 1. With "attention" plan()
// throws InputError where the profile does not know what that costs, but for evaluations, which
// recompute nothing. With "auto" epp mixes ways of recomputing where the profile knows both; others
// recompute whole layers.
std::unique_ptr<Planner> make_planner(const PlanContext& context,
                                      std::shared_ptr<const Evaluator> evaluator);

}  // namespace infinipipe
