// From a configuration to a planner: what `plan` and the like share.
#pragma once

#include <memory>

#include "infinipipe/core/config.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/planner/planner.h"

namespace infinipipe::cli {

// The file that cluster.profile names, else an estimate from the model's FLOPs.
Profile configured_profile(const TrainConfig& config);

// A planner for this configuration, judged by the simulator.
std::unique_ptr<Planner> configured_planner(const TrainConfig& config, Profile profile);

}  // namespace infinipipe::cli
