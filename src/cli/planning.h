// From a configuration to a planner: what `plan` and the like share.
#pragma once

#include <memory>

#include "infinipipe/core/config.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/planner/planner.h"

namespace infinipipe::cli {

// The file that cluster.profile names, else an estimate from the model's FLOPs.
Profile configured_profile(const TrainConfig& config);

PlanContext configured_context(const TrainConfig& config, Profile profile);

// The simulator under the context's memory limit.
std::shared_ptr<const Evaluator> configured_evaluator(const PlanContext& context);

// A planner for this configuration, judged by the simulator.
std::unique_ptr<Planner> configured_planner(const TrainConfig& config, Profile profile);

}  // namespace infinipipe::cli
