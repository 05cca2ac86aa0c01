// From a configuration to a planner: what `plan` and the like share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/flags.h"
#include "infinipipe/baselines/system.h"
#include "infinipipe/core/config.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/planner/planner.h"

namespace infinipipe::cli {

// The file that cluster.profile names, else an estimate from the model's FLOPs.
Profile configured_profile(const TrainConfig& config);

// The simulator under the context's memory limit.
std::shared_ptr<const Evaluator> configured_evaluator(const PlanContext& context);

// Throws InputError for more lengths than one batch may have; `file` is where they are from.
void require_batch(const std::vector<Tokens>& lengths, const std::string& file);

// A planner for this configuration, judged by the simulator.
std::unique_ptr<Planner> configured_planner(const TrainConfig& config, Profile profile);

// The cluster that systems are compared on, judged by the simulator. Degrees are fixed where any of
// parallelism.stages, .sequence_parallel and .data_parallel is set; else each system finds its own.
// cluster.devices 0: the product of the degrees.
SystemContext configured_cluster(const TrainConfig& config, const ConfigFlags& flags);

}  // namespace infinipipe::cli
