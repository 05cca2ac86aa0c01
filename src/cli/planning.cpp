#include "cli/planning.h"

#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe::cli {

Profile configured_profile(const TrainConfig& config) {
  if (!config.cluster.profile.empty() && config.cluster.profile != "estimate")
    return read_profile(config.cluster.profile);
  return estimated_profile(config.model, config.training.dtype);
}

std::unique_ptr<Planner> configured_planner(const TrainConfig& config, Profile profile) {
  PlanContext context;
  context.profile = std::move(profile);
  context.layers = static_cast<int>(config.model.num_hidden_layers);
  context.parallelism = {config.parallelism.stages, config.parallelism.sequence_parallel,
                         config.parallelism.data_parallel};
  context.layers_per_stage = config.parallelism.layers_per_stage;
  context.bytes_per_stage = config.memory.bytes_per_stage;
  context.config = config.planner;
  const Bytes limit =
      context.bytes_per_stage > 0.0 ? context.bytes_per_stage : context.profile.device_memory_bytes;
  return make_planner(context, std::make_shared<SimulatorEvaluator>(limit));
}

}  // namespace infinipipe::cli
