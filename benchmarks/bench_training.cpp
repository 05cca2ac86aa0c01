// Whether predictions hold and elastic pipelines win, on real runs:
//
//   bench_training CONFIG.toml [--steps N] [--section.key value ...]
//
// The same batches under epp, seq1f1b, 1f1b and gpipe, in turn, at three memory budgets: all that
// full storage needs, and half and a quarter of it beyond the model states. For each: predicted and
// measured time and peak memory, tokens per second, bubble, recomputation. One run, medians.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "infinipipe/base/error.h"
#include "infinipipe/base/statistics.h"
#include "infinipipe/data/batch_source.h"
#include "infinipipe/data/indexed_dataset.h"
#include "infinipipe/data/sampler.h"
#include "infinipipe/planner/layer_split.h"
#include "infinipipe/trainer/profile.h"
#include "trainer/calibrator.h"
#include "trainer/paced_planner.h"
#include "trainer/setup.h"

namespace infinipipe {
namespace {

const std::vector<std::string> kPlanners = {"epp", "seq1f1b", "1f1b", "gpipe"};
const std::vector<double> kBudgets = {1.0, 0.5, 0.25};

double largest(const std::vector<double>& values) {
  return values.empty() ? 0.0 : *std::max_element(values.begin(), values.end());
}

// What one planner did at one budget, a value a step.
struct Runs {
  std::vector<double> tokens_per_second;
  std::vector<double> against_epp;  // epp's time over this one's, of the same step
  std::vector<double> bubble;
  std::vector<double> recompute;     // share of busy time
  std::vector<double> time_error;    // |predicted / measured - 1| of the step
  std::vector<double> event_error;   // likewise of instructions
  std::vector<double> memory_error;  // of the peak, each stage
  std::vector<double> over_budget;   // peak over budget, each stage
  std::vector<double> plan_seconds;
  int failed = 0;  // steps that do not fit
};

struct Options {
  TrainConfig config;
  int steps = 6;
};

Options parse(int count, char** arguments) {
  if (count < 2 || arguments[1][0] == '-') {
    throw InputError("bench_training", "no configuration",
                     "expected CONFIG.toml as the first argument");
  }
  Options options;
  options.config = read_config(arguments[1]);
  for (int i = 2; i + 1 < count; i += 2) {
    const std::string key = arguments[i];
    if (key == "--steps") {
      options.steps = std::atoi(arguments[i + 1]);
    } else if (key.rfind("--", 0) == 0) {
      set_config(options.config, key.substr(2), arguments[i + 1], "command line");
    }
  }
  options.config.check();
  return options;
}

class Bench final {
 public:
  explicit Bench(Options options)
      : options_(std::move(options)),
        config_(options_.config),
        dataset_(config_.data.path),
        sampler_(dataset_.documents(), config_.training.sequences_per_step, config_.training.seed),
        batches_(dataset_, sampler_, config_.data.max_sequence_length, config_.model.vocab_size),
        context_(make_plan_context(config_, resolve_profile(config_,
                                                            [](const std::string& line) {
                                                              std::fprintf(stderr, "%s\n",
                                                                           line.c_str());
                                                            }))),
        stages_(stage_layers(context_)),
        engine_(make_engine_options(config_, stages_)) {}

  void run() {
    // Pace is followed as in training, from one undisturbed series for all: the machine's, not a
    // planner's.
    Calibrator calibrator(static_cast<int>(stages_.size()), 0, true);
    for (int step = 0; step < options_.steps; ++step) {
      const PlanRequest request = request_of(step, calibrator);
      const Bytes full = most_bytes(request);
      for (const double share : kBudgets) {
        const Bytes budget = states() + share * (full - states());
        std::map<std::string, double> seconds;
        for (const std::string& planner : kPlanners) {
          one(planner, share, budget, request, calibrator, seconds);
        }
        for (const std::string& planner : kPlanners) {
          if (!seconds.contains(planner) || !seconds.contains("epp")) continue;
          runs_[{share, planner}].against_epp.push_back(seconds[planner] / seconds["epp"]);
        }
      }
      std::fprintf(stderr, "step %d of %d\n", step + 1, options_.steps);
    }
    print();
  }

 private:
  PlanRequest request_of(int step, const Calibrator& calibrator) {
    PlanRequest request;
    request.sequences = batches_.lengths(step);
    request.step = step;
    request.stage_pace = calibrator.pace_for(step + 1);
    return request;
  }

  std::unique_ptr<Planner> planner(const std::string& name, Bytes budget) const {
    PlanContext context = context_;
    context.config.name = name;
    context.bytes_per_stage = budget;
    std::vector<int> layers;
    for (const LayerRange& range : stages_) layers.push_back(range.count());
    context.layers_per_stage = layers;
    return make_paced_planner(context);
  }

  Bytes states() const {
    const CostModel cost(context_.profile, context_.parallelism, stages_);
    Bytes most = 0.0;
    for (std::size_t p = 0; p < stages_.size(); ++p) {
      most = std::max(most, cost.state_bytes(StageId(p)));
    }
    return most;
  }

  // What the whole sequences' activations need without recomputation: the most that any of the
  // planners takes with no limit.
  Bytes most_bytes(const PlanRequest& request) const {
    Bytes most = 0.0;
    for (const std::string& name : kPlanners) {
      if (name == "gpipe") continue;
      const Plan plan = planner(name, 1e18)->plan(request);
      for (const StagePrediction& stage : plan.predicted->stages) {
        most = std::max(most, stage.peak_bytes);
      }
    }
    return most;
  }

  void one(const std::string& name, double share, Bytes budget, const PlanRequest& request,
           Calibrator& calibrator, std::map<std::string, double>& seconds) {
    Runs& runs = runs_[{share, name}];
    Plan plan;
    try {
      plan = planner(name, budget)->plan(request);
    } catch (const RunError&) {
      ++runs.failed;
      return;
    }
    Batch batch;
    batch.sequences = batches_.load(request.step).sequences;
    engine_.zero_grad();
    const StepResult result = engine_.run(plan, batch);
    const double measured = result.trace.seconds;
    seconds[name] = measured;
    if (name == "epp" && share == 1.0) calibrator.observe(request.step, plan, result.trace);
    runs.tokens_per_second.push_back(static_cast<double>(plan.total_tokens()) / measured);
    runs.bubble.push_back(result.trace.bubble());
    runs.plan_seconds.push_back(plan.planner.seconds);
    runs.time_error.push_back(std::abs(plan.predicted->seconds / measured - 1.0));
    double busy = 0.0;
    double again = 0.0;
    const CostModel cost(at_pace(context_.profile, plan.stage_pace), plan.parallelism, stages_);
    const std::vector<bool> cut = plan.cut_sequences();
    for (const TraceEvent& event : result.trace.events) {
      busy += event.end - event.begin;
      again += event.recompute;
      const Chunk& chunk = plan.replicas[0].chunk(event.instruction);
      const ChunkShape shape = chunk_shape(chunk, plan.sequences, cut);
      const Seconds predicted =
          predicted_seconds(cost, event, shape, chunk.recompute[event.stage.index()]);
      runs.event_error.push_back(std::abs(predicted / (event.end - event.begin) - 1.0));
    }
    runs.recompute.push_back(again / busy);
    for (std::size_t p = 0; p < stages_.size(); ++p) {
      runs.memory_error.push_back(
          std::abs(plan.predicted->stages[p].peak_bytes / result.peak_bytes[p] - 1.0));
      runs.over_budget.push_back(result.peak_bytes[p] / budget);
    }
  }

  static Seconds predicted_seconds(const CostModel& cost, const TraceEvent& event,
                                   const ChunkShape& shape, int recompute) {
    switch (event.instruction.op) {
      case Op::kForward:
        return cost.forward(event.stage, shape);
      case Op::kBackward:
        return cost.backward(event.stage, shape) + cost.recompute(event.stage, shape, recompute);
      case Op::kInputGrad:
        return cost.input_grad(event.stage, shape) + cost.recompute(event.stage, shape, recompute);
      case Op::kWeightGrad:
        return cost.weight_grad(event.stage, shape);
    }
    return 0.0;
  }

  void print() const {
    std::printf("%zu stages, %d steps of %d documents cut at %lld tokens, %s\n", stages_.size(),
                options_.steps, config_.training.sequences_per_step,
                static_cast<long long>(config_.data.max_sequence_length),
                config_.training.dtype.c_str());
    std::printf(
        "budget  planner   tokens/s  time/epp (least..most)   bubble  recomputed  step err  "
        "instr err  peak err (most)  peak/budget  does not fit\n");
    for (const double share : kBudgets) {
      for (const std::string& name : kPlanners) {
        const auto found = runs_.find({share, name});
        if (found == runs_.end()) continue;
        const Runs& r = found->second;
        if (r.tokens_per_second.empty()) {
          std::printf("%5.0f%%   %-8s  does not fit in any of %d steps\n", 100.0 * share,
                      name.c_str(), r.failed);
          continue;
        }
        const auto [low, high] =
            r.against_epp.empty()
                ? std::pair{0.0, 0.0}
                : std::pair{*std::min_element(r.against_epp.begin(), r.against_epp.end()),
                            largest(r.against_epp)};
        std::printf(
            "%5.0f%%   %-8s %9.0f   %6.3f (%.3f..%.3f)   %6.1f%%   %6.1f%%   %6.1f%%   %6.1f%%   "
            "%5.1f%% (%.1f%%)   %8.3f   %d\n",
            100.0 * share, name.c_str(), median(r.tokens_per_second), median(r.against_epp), low,
            high, 100.0 * median(r.bubble), 100.0 * median(r.recompute),
            100.0 * median(r.time_error), 100.0 * median(r.event_error),
            100.0 * median(r.memory_error), 100.0 * largest(r.memory_error), largest(r.over_budget),
            r.failed);
      }
    }
  }

  Options options_;
  TrainConfig config_;
  IndexedDataset dataset_;
  Sampler sampler_;
  BatchSource batches_;
  PlanContext context_;
  std::vector<LayerRange> stages_;
  Engine engine_;
  std::map<std::pair<double, std::string>, Runs> runs_;
};

}  // namespace
}  // namespace infinipipe

int main(int count, char** arguments) {
  try {
    infinipipe::Bench(infinipipe::parse(count, arguments)).run();
    return 0;
  } catch (const infinipipe::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return error.exit_code();
  }
}
