#include "cli/planning.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/gpus.h"
#include "core/limits.h"
#include "cost/named_estimate.h"
#include "cost/step_overhead.h"
#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe::cli {

namespace {

constexpr std::int64_t kUnsaid = std::numeric_limits<std::int64_t>::min();

// The user's model, as far as it was said: sizes that were not are 0.
ProfileModel said_model(const ConfigFlags& flags, const TrainConfig& config) {
  ProfileModel said = profile_model(config.model);
  for (const auto& [name, size] : kProfileModelFields)
    said.*size = std::max<std::int64_t>(said.*size, 0);
  if (!config.model_preset.empty() && !flags.given("model.vocab_size") &&
      said.vocab_size == model_preset(config.model_preset).vocab_size) {
    said.vocab_size = 0;
  }
  return said;
}

}  // namespace

PlanningInput planning_input(const ConfigFlags& flags, std::int64_t fallback_layers) {
  TrainConfig base;
  base.data.max_sequence_length = std::numeric_limits<Tokens>::max();
  ModelSpec& unsaid = base.model;
  unsaid.num_hidden_layers = unsaid.hidden_size = unsaid.num_attention_heads =
      unsaid.num_key_value_heads = unsaid.vocab_size = kUnsaid;
  PlanningInput input{flags.apply(std::move(base)), {}, {}};
  TrainConfig& config = input.config;
  const std::string& file = config.cluster.profile;
  const bool estimate = file.empty() || is_estimate(file);
  if (!estimate) input.profile = read_profile(file);
  const ProfileModel said = said_model(flags, config);
  const ProfileModel agreed = agreed_model(said, input.profile, file);
  if (agreed.num_hidden_layers == 0) {
    input.note = "model.num_hidden_layers was not given" +
                 (estimate ? std::string() : ", and " + file + " does not say it") + ": " +
                 std::to_string(fallback_layers) + " layers are assumed";
  }
  const ModelSpec defaults;
  const auto take = [](std::int64_t& size, std::int64_t known, std::int64_t otherwise) {
    if (size == kUnsaid) size = known > 0 ? known : otherwise;
  };
  ModelSpec& model = config.model;
  take(model.num_hidden_layers, agreed.num_hidden_layers, fallback_layers);
  take(model.hidden_size, agreed.hidden_size, defaults.hidden_size);
  take(model.num_attention_heads, agreed.num_attention_heads, defaults.num_attention_heads);
  take(model.num_key_value_heads, agreed.num_key_value_heads, defaults.num_key_value_heads);
  take(model.vocab_size, agreed.vocab_size, defaults.vocab_size);
  model.sliding_window = agreed.sliding_window;
  config.settle();
  flags.check(config);
  if (estimate) {
    input.profile =
        named_estimate(model, config.training.dtype, file.empty() ? std::string(kEstimate) : file);
  } else {
    input.profile.heads = agreed.heads();
    input.profile.sliding_window = agreed.sliding_window;
  }
  return input;
}

Profile given_profile(const std::string& file) {
  if (is_estimate(file)) {
    throw InputError("command line: --profile", "found " + file,
                     "expected a file, since a plan does not say its model",
                     "infinipipe plan --profile-out FILE writes the profile that it plans with");
  }
  return read_profile(file);
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

std::unique_ptr<Planner> configured_planner(const PlanningInput& input) {
  const PlanContext context = plan_context(input.config, input.profile);
  return make_planner(context, configured_evaluator(context));
}

Seconds outside_instructions(const Plan& plan, const Profile& profile, int devices_per_node,
                             Console& console) {
  if (plan.forward_only()) return profile.step_seconds;
  Profile known = profile;
  const std::string absent = absent_bandwidth(profile, plan.parallelism, devices_per_node);
  if (!absent.empty()) {
    console.warn("gathers and reductions are not counted: " + absent);
    known.links.all_gather.clear();
    known.links.reduce_scatter.clear();
  }
  const CostModel cost = plan_cost(known, plan);
  return profile.step_seconds + step_overhead(plan, cost, devices_per_node).total();
}

bool warn_of_another_profile(const Plan& plan, const std::string& plan_file, const Profile& profile,
                             const std::string& profile_file, Console& console) {
  const std::string hash = profile_hash(profile);
  if (plan.profile_hash == hash) return false;
  if (plan.profile_hash.empty()) return true;
  console.warn(plan_file + " was made with profile " + plan.profile_hash + ", and " + profile_file +
               " is " + hash + ": what is said here is of the latter");
  return true;
}

SystemContext configured_cluster(const PlanningInput& input, const ConfigFlags& flags) {
  const TrainConfig& config = input.config;
  SystemContext context;
  context.profile = input.profile;
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
