#include "baselines/pipeline_system.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>

#include "baselines/static_system.h"
#include "core/head_shares.h"
#include "cost/lower_bound.h"
#include "cost/step_overhead.h"
#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"

namespace infinipipe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kTuningBatches = 4;

class PipelineSystem final : public System {
 public:
  PipelineSystem(const PlannerRow& planner, const SystemContext& context)
      : name_(planner.name), planner_(planner), context_(context) {
    for (const Parallelism& parallelism : pipeline_parallelisms(context)) {
      PlanContext plan;
      plan.profile = profile_for(parallelism);
      plan.layers = context.layers;
      plan.parallelism = parallelism;
      if (context.parallelism) plan.layers_per_stage = context.layers_per_stage;
      plan.bytes_per_stage = context.bytes_per_device;
      plan.config = context.planner;
      plan.config.name = name_;
      choices_.push_back({parallelism, plan.profile, make_planner(plan, context.evaluator)});
    }
    if (choices_.empty()) {
      throw InputError(
          name_, "no layout for " + std::to_string(context.devices) + " devices",
          "expected stages that divide them, with the bandwidths that the layout needs, heads that "
          "its groups can share and as many stages as the profile's stage_speed has",
          "plan --auto names what each layout lacks");
    }
  }

  const std::string& name() const override { return name_; }

  void tune(std::span<const std::vector<Tokens>> sample) override {
    if (choices_.size() < 2) return;
    tuned_.reset();
    std::vector<const std::vector<Tokens>*> batches;
    for (const std::size_t i : tuning_batches(sample, kTuningBatches)) {
      batches.push_back(&sample[i]);
    }
    std::size_t best = 0;
    std::size_t most = 0;
    Seconds least = kInfinity;
    for (std::size_t choice = 0; choice < choices_.size(); ++choice) {
      Seconds sum = 0.0;
      std::size_t fits = 0;
      // What is proven to be slower in total is not planned.
      Seconds bound = 0.0;
      for (const auto* batch : batches) bound += lower(choice, *batch);
      if (most == batches.size() && bound >= least) continue;
      for (const auto* batch : batches) {
        const SystemResult result = run_choice(choice, *batch);
        if (result.status != SystemStatus::kOk) continue;
        sum += result.seconds;
        ++fits;
      }
      if (fits > most || (fits == most && fits > 0 && sum < least)) {
        best = choice;
        most = fits;
        least = sum;
      }
    }
    if (most > 0) tuned_ = best;
  }

  SystemResult run(const std::vector<Tokens>& sequences) const override {
    const auto started = std::chrono::steady_clock::now();
    SystemResult best;
    best.status = SystemStatus::kOutOfMemory;
    if (tuned_) best = run_choice(*tuned_, sequences);
    // Every choice without a tuned one, or where that does not hold the batch.
    std::string nearest_miss;
    Bytes missing = kInfinity;
    std::size_t choice = best.status == SystemStatus::kOk ? choices_.size() : 0;
    for (; choice < choices_.size(); ++choice) {
      if (best.status == SystemStatus::kOk && lower(choice, sequences) >= best.seconds) continue;
      SystemResult result = run_choice(choice, sequences);
      if (result.status != SystemStatus::kOk) {
        if (result.missing < missing) {
          missing = result.missing;
          nearest_miss = choices_.size() == 1
                             ? result.reason
                             : name_ + ": at none of " + std::to_string(choices_.size()) +
                                   " layouts; " + to_string(choices_[choice].parallelism) +
                                   " comes nearest, " + format_bytes(missing) +
                                   " are missing: " + result.reason;
        }
        continue;
      }
      if (best.status != SystemStatus::kOk || result.seconds < best.seconds) {
        best = std::move(result);
      }
    }
    if (best.status != SystemStatus::kOk) {
      best = SystemResult{};
      best.status = SystemStatus::kOutOfMemory;
      best.reason = nearest_miss;
      best.missing = missing;
      best.settings = Json::object();
    }
    best.plan_seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    return best;
  }

 private:
  struct Choice {
    Parallelism parallelism;
    Profile profile;  // what it plans for
    std::unique_ptr<Planner> planner;
  };

  Profile profile_for(const Parallelism& parallelism) const {
    if (context_.overlap_gathers) return context_.profile;
    return with_waited_gathers(context_.profile, parallelism, context_.layers,
                               context_.devices_per_node);
  }

  Seconds lower(std::size_t choice, const std::vector<Tokens>& sequences) const {
    return lower_bound(choices_[choice].profile, choices_[choice].parallelism, context_.layers,
                       sequences, context_.limit(), false, context_.planner.sub_groups())
        .seconds;
  }

  SystemResult run_choice(std::size_t choice, const std::vector<Tokens>& sequences) const {
    SystemResult result;
    result.settings = Json::object();
    PlanRequest request;
    request.sequences = sequences;
    try {
      result.plan = choices_[choice].planner->plan(request);
    } catch (const DoesNotFit& error) {
      result.status = SystemStatus::kOutOfMemory;
      result.reason = error.what();
      result.missing = error.missing();
      return result;
    }
    const Plan& plan = *result.plan;
    INFINIPIPE_ASSERT(plan.predicted.has_value(), "a plan without a prediction");
    const Prediction& predicted = *plan.predicted;
    const CostModel cost = plan_cost(choices_[choice].profile, plan);
    StepOverhead overhead = step_overhead(plan, cost, context_.devices_per_node);
    // What is waited for is in the chunks.
    if (!context_.overlap_gathers || !planner_.pays_exposed_gathers) overhead.gathers = 0.0;
    result.seconds = predicted.seconds + overhead.total();
    const Tokens tokens = std::accumulate(sequences.begin(), sequences.end(), Tokens{0});
    result.tokens_per_second =
        result.seconds > 0.0 ? static_cast<double>(tokens) / result.seconds : 0.0;
    result.bubble = predicted.bubble;
    for (const StagePrediction& stage : predicted.stages) {
      result.peak_bytes.push_back(stage.peak_bytes);
    }
    result.lower_bound = predicted.lower_bound;
    std::vector<int> layers;
    for (const LayerRange& range : plan.stages) layers.push_back(range.count());
    std::size_t pipelines = 0;
    std::size_t chunks = 0;
    for (const Replica& replica : plan.replicas) {
      pipelines = std::max(pipelines, replica.pipelines.size());
      for (const Pipeline& pipeline : replica.pipelines) {
        chunks += pipeline.chunks.size();
      }
    }
    result.settings = {{"stages", plan.parallelism.stages},
                       {"sequence_parallel", plan.parallelism.sequence_parallel},
                       {"data_parallel", plan.parallelism.data_parallel},
                       {"layers", layers},
                       {"slices", plan.planner.slices},
                       {"schedule", plan.planner.schedule},
                       {"pipelines", pipelines},
                       {"chunks", chunks},
                       {"recomputed_layers", plan.recomputed().layers},
                       {"gathers", gathers(plan.parallelism)},
                       {"exposed_gather_seconds", overhead.gathers},
                       {"replica_overhead_seconds", overhead.reduction}};
    if (overhead.heads > 0.0) result.settings["uneven_heads_seconds"] = overhead.heads;
    if (!plan.planner.candidates.empty()) {
      result.settings["chunk_tokens"] = plan.planner.candidates.front().chunk_tokens;
    }
    return result;
  }

  const char* gathers(const Parallelism& parallelism) const {
    const LinkCost& links = context_.profile.links;
    if (links.all_gather.empty() && links.reduce_scatter.empty()) return "in the profile";
    if (parallelism.sequence_parallel == 1) return "none";
    return context_.overlap_gathers ? "overlapped" : "waited for";
  }

  std::string name_;
  const PlannerRow& planner_;
  SystemContext context_;
  std::vector<Choice> choices_;
  std::optional<std::size_t> tuned_;
};

}  // namespace

std::unique_ptr<System> make_pipeline_system(const PlannerRow& planner,
                                             const SystemContext& context) {
  if (!context.evaluator) {
    throw InputError(planner.name, "no evaluator", "expected the simulator to judge its plans");
  }
  auto system = std::make_unique<PipelineSystem>(planner, context);
  return system;
}

}  // namespace infinipipe
