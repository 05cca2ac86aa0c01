// A pipeline planner as a system: its plans, judged by the evaluator, at the best degrees.
#pragma once

#include <memory>
#include <string>

#include "infinipipe/baselines/system.h"

namespace infinipipe {

std::unique_ptr<System> make_pipeline_system(const std::string& name, const SystemContext& context);

// Once a step: gradients reduced over the replicas and their optimizer's weights gathered, of the
// heaviest stage's share of a device. 0 for one replica or a profile without gather bandwidths.
Seconds replica_overhead(const SystemContext& context, const Plan& plan);

}  // namespace infinipipe
