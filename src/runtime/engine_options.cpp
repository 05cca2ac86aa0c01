#include "runtime/engine_options.h"

namespace infinipipe {

EngineOptions engine_options_of(const TrainConfig& config) {
  EngineOptions options;
  options.model = config.model;
  options.replicas = config.parallelism.data_parallel;
  options.shards = config.parallelism.sequence_parallel;
  options.dtype = config.training.dtype;
  options.device = config.runtime.device;
  options.threads_per_stage = config.runtime.threads_per_stage;
  options.pooled_allocator = config.runtime.pooled_allocator;
  options.seed = config.training.seed;
  options.longest = config.data.max_sequence_length;
  options.optimizer = config.optimizer;
  options.only = config.training.only;
  options.total_steps = config.training.steps;
  options.nccl = config.runtime.communicator == CommunicatorKind::kNccl;
  options.direct_copies = config.runtime.direct_copies;
  return options;
}

}  // namespace infinipipe
