// From a configuration to a planner: what `plan` and the like share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "baselines/system.h"
#include "cli/console.h"
#include "cli/flags.h"
#include "infinipipe/core/config.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/planner/planner.h"

namespace infinipipe::cli {

// What a command plans with. The configuration's model and the profile agree.
struct PlanningInput {
  TrainConfig config;
  Profile profile;   // the file that cluster.profile names, else an estimate from the model's FLOPs
  std::string note;  // one line for people, where something had to be assumed; else empty
};

// Reads flags and profile. Model sizes that the user left out are the profile's; the number of
// layers is never assumed without a word: where neither says it, it is `fallback_layers`, and the
// note says so. Lengths are not cut off unless data.max_sequence_length is given. Throws InputError
// where the user's model contradicts the profile's, naming both values. A preset's vocabulary does
// not count as the user's word: profiles often have another.
PlanningInput planning_input(const ConfigFlags& flags, std::int64_t fallback_layers);

// The profile of commands that take a plan and a file. Throws InputError for an estimate's name: it
// would be of another model than the plan's.
Profile given_profile(const std::string& file);

// The simulator under the context's memory limit.
std::shared_ptr<const Evaluator> configured_evaluator(const PlanContext& context);

// Throws InputError for more lengths than one batch may have; `file` is where they are from.
void require_batch(const std::vector<Tokens>& lengths, const std::string& file);

// A planner for this configuration, judged by the simulator.
std::unique_ptr<Planner> configured_planner(const PlanningInput& input);

// What a step of this plan takes outside its instructions on a machine (docs/parallelism.md): what
// the profile says for every layout, gathers, reduction and uneven heads; of an evaluation the
// first alone. Where the profile lacks a bandwidth, a warning says so, and gathers and reductions
// are left out. The plan must be valid and of the profile's layers.
Seconds outside_instructions(const Plan& plan, const Profile& profile, int devices_per_node,
                             Console& console);

// A plan may be looked at on another machine than its own, but never without a word. False where
// the profile is the plan's own; a plan that names none has none of its own.
bool warn_of_another_profile(const Plan& plan, const std::string& plan_file, const Profile& profile,
                             const std::string& profile_file, Console& console);

// The cluster that systems are compared on, judged by the simulator. Degrees are fixed where any of
// parallelism.stages, .sequence_parallel and .data_parallel is set; else each system finds its own.
// cluster.devices 0: the product of the degrees.
SystemContext configured_cluster(const PlanningInput& input, const ConfigFlags& flags);

}  // namespace infinipipe::cli
