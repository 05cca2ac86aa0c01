// From a configuration to what a run needs: profile, plan context, engine options.
#pragma once

#include <memory>
#include <vector>

#include "infinipipe/core/config.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/planner/planner.h"
#include "runtime/engine.h"

namespace infinipipe {

// The layer split is fixed for a whole run: the given one, or the balanced one for this profile.
PlanContext make_plan_context(const TrainConfig& config, Profile profile);

// Throws InputError for what this build cannot run (several replicas, another communicator, a
// device that is not there).
Engine::Options make_engine_options(const TrainConfig& config,
                                    const std::vector<LayerRange>& stages);

// Planner with the simulator as its judge.
std::unique_ptr<Planner> make_judged_planner(const PlanContext& context);

// Matrix multiplication speed of one stage's threads on its device in the compute dtype, FLOP/s:
// the median of a few short products. What MFU is measured against.
double measured_matmul_flops(const Engine::Options& options);

}  // namespace infinipipe
