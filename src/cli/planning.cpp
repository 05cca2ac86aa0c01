#include "cli/planning.h"

#include "infinipipe/base/error.h"
#include "infinipipe/core/limits.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe::cli {

Profile configured_profile(const TrainConfig& config) {
  if (!config.cluster.profile.empty() && config.cluster.profile != "estimate")
    return read_profile(config.cluster.profile);
  return estimated_profile(config.model, config.training.dtype);
}

std::shared_ptr<const Evaluator> configured_evaluator(const PlanContext& context) {
  return std::make_shared<SimulatorEvaluator>(context.limit());
}

void require_batch(const std::vector<Tokens>& lengths, const std::string& file) {
  if (lengths.size() <= kMostSequences) return;
  throw InputError(file, "holds " + std::to_string(lengths.size()) + " lengths",
                   "expected at most " + std::to_string(kMostSequences) + " in one batch",
                   "--batch 512 samples 512 of them as training would");
}

std::unique_ptr<Planner> configured_planner(const TrainConfig& config, Profile profile) {
  const PlanContext context = plan_context(config, std::move(profile));
  return make_planner(context, configured_evaluator(context));
}

SystemContext configured_cluster(const TrainConfig& config, const ConfigFlags& flags) {
  SystemContext context;
  context.profile = configured_profile(config);
  context.layers = static_cast<int>(config.model.num_hidden_layers);
  const Parallelism parallelism = {config.parallelism.stages, config.parallelism.sequence_parallel,
                                   config.parallelism.data_parallel};
  const int product =
      parallelism.stages * parallelism.sequence_parallel * parallelism.data_parallel;
  const bool fixed = product > 1 || flags.given("parallelism.stages") ||
                     flags.given("parallelism.sequence_parallel") ||
                     flags.given("parallelism.data_parallel");
  context.devices = config.cluster.devices > 0 ? config.cluster.devices : product;
  context.devices_per_node = config.cluster.devices_per_node;
  context.bytes_per_device = config.memory.bytes_per_stage;
  if (fixed) {
    context.parallelism = parallelism;
    context.layers_per_stage = config.parallelism.layers_per_stage;
  }
  context.planner = config.planner;
  context.evaluator = std::make_shared<SimulatorEvaluator>(context.limit());
  return context;
}

}  // namespace infinipipe::cli
