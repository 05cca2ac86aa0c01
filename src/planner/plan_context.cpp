#include <utility>

#include "infinipipe/planner/planner.h"

namespace infinipipe {

PlanContext plan_context(const TrainConfig& config, Profile profile) {
  PlanContext context;
  context.profile = std::move(profile);
  context.profile.sliding_window = config.model.sliding_window;
  context.layers = static_cast<int>(config.model.num_hidden_layers);
  context.parallelism = {config.parallelism.stages, config.parallelism.sequence_parallel,
                         config.parallelism.data_parallel};
  context.layers_per_stage = config.parallelism.layers_per_stage;
  context.bytes_per_stage = config.memory.bytes_per_stage;
  context.config = config.planner;
  return context;
}

}  // namespace infinipipe
