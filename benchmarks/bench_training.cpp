// Whether predictions hold and elastic pipelines win, on real runs:
//
//   bench_training CONFIG.toml [--first S] [--steps N] [--planners epp,seq1f1b,1f1b,gpipe]
//                  [--budgets 1,0.5,0.25] [--section.key value ...]
//
// A planner may be told what its recomputed layers keep: seq1f1b:attention, epp:input; or what they
// may not: epp:-mlp_input.
// The same batches under epp, seq1f1b, 1f1b and gpipe, in turn, at three memory budgets: all that
// full storage needs, and half and a quarter of it beyond the model states. For each: predicted and
// measured time and peak memory, tokens per second, bubble, recomputation. One run, medians.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/statistics.h"
#include "data/batch_source.h"
#include "data/corpus.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/keeping.h"
#include "infinipipe/planner/factory.h"
#include "planner/layer_split.h"
#include "planner/planners.h"
#include "real_run.h"
#include "trainer/calibrator.h"

namespace infinipipe {
namespace {

double largest(const std::vector<double>& values) {
  return values.empty() ? 0.0 : *std::max_element(values.begin(), values.end());
}

// What one planner did at one budget, a value a step.
struct Runs {
  std::vector<double> tokens_per_second;
  std::vector<double> against_epp;  // this one's time over epp's, of the same step
  std::vector<double> bubble;
  std::vector<double> recompute;     // share of busy time
  std::vector<double> time_error;    // |predicted / measured - 1| of the step
  std::vector<double> event_error;   // likewise of instructions
  std::vector<double> memory_error;  // of the peak, each stage
  std::vector<double> over_budget;   // peak over budget, each stage
  std::vector<double> plan_seconds;
  int failed = 0;  // steps that do not fit
};

class Bench final {
 public:
  Bench(TrainConfig config, int first, int steps, std::vector<std::string> planners,
        std::vector<double> budgets)
      : first_(first),
        steps_(steps),
        planners_(std::move(planners)),
        budgets_(std::move(budgets)),
        config_(std::move(config)),
        corpus_(config_.data),
        batches_(corpus_, config_.training, config_.model.vocab_size),
        context_(plan_context(config_, bench_profile(config_))),
        stages_(stage_layers(context_)),
        engine_(make_engine_options(config_, stages_, nullptr)) {}

  void run() {
    warm_up();
    // Pace is followed as in training, from one undisturbed series for all: the machine's, not a
    // planner's.
    Calibrator calibrator(static_cast<int>(stages_.size()), 0, true);
    for (int step = 0; step < steps_; ++step) {
      const PlanRequest request = request_of(step, calibrator);
      tell("step " + std::to_string(step + 1) + " of " + std::to_string(steps_), request);
      const Bytes full = most_bytes(request);
      for (const double share : budgets_) {
        const Bytes budget = budget_of(share, full);
        std::map<std::string, double> seconds;
        for (std::size_t i = 0; i < planners_.size(); ++i) {  // nobody is always first
          const auto turn = (i + static_cast<std::size_t>(step)) % planners_.size();
          one(planners_[turn], share, budget, request, calibrator, seconds);
        }
        for (const std::string& planner : planners_) {
          if (!seconds.contains(planner) || !seconds.contains(planner_name::kElastic)) continue;
          runs_[{share, planner}].against_epp.push_back(seconds[planner] /
                                                        seconds[planner_name::kElastic]);
        }
      }
    }
    print();
  }

 private:
  PlanRequest request_of(int step, const Calibrator& calibrator) {
    PlanRequest request;
    request.sequences = batches_.lengths(first_ + step);
    request.step = step;
    request.stage_pace = calibrator.pace_for(step + 1);
    return request;
  }

  // One plan of the first step, which does not count, nor does its pace.
  void warm_up() {
    Calibrator none(static_cast<int>(stages_.size()), 0, false);
    const PlanRequest request = request_of(0, none);
    tell("warm-up", request);
    std::map<std::string, double> seconds;
    one(planners_.front(), budgets_.front(), budget_of(budgets_.front(), most_bytes(request)),
        request, none, seconds);
    runs_.clear();
  }

  void tell(const std::string& which, const PlanRequest& request) const {
    std::fprintf(stderr, "%s: documents of", which.c_str());
    for (const Tokens tokens : request.sequences) {
      std::fprintf(stderr, " %lld", static_cast<long long>(tokens));
    }
    std::fprintf(stderr, " tokens\n");
  }

  std::unique_ptr<Planner> planner(const std::string& name, Bytes budget) const {
    return planner_at(context_, stages_, name, budget);
  }

  Bytes states() const {
    const CostModel cost(context_.profile, context_.parallelism, stages_);
    Bytes most = 0.0;
    for (std::size_t p = 0; p < stages_.size(); ++p) {
      most = std::max(most, cost.state_bytes(StageId(p)));
    }
    return most;
  }

  Bytes budget_of(double share, Bytes full) const { return states() + share * (full - states()); }

  // What the hungriest of the planners takes with no limit, and the message that planning keeps in
  // hand. Of the same planners whatever runs, so that budgets are the same; gpipe, which holds all
  // activations at once, recomputes at any of them.
  Bytes most_bytes(const PlanRequest& request) const {
    Bytes most = 0.0;
    for (const char* name :
         {planner_name::kElastic, planner_name::kSlices, planner_name::kPacked}) {
      const Plan plan = planner(name, 1e18)->plan(request);
      Tokens largest = 0;
      for (const Pipeline& pipeline : plan.replicas[0].pipelines) {
        for (const Chunk& chunk : pipeline.chunks) largest = std::max(largest, chunk.tokens());
      }
      const CostModel cost(context_.profile, context_.parallelism, stages_);
      for (const StagePrediction& stage : plan.predicted->stages) {
        most = std::max(most, 1.001 * (stage.peak_bytes + cost.message_bytes(largest)));
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
      std::fprintf(stderr, "  %3.0f%%  %-17s  does not fit\n", 100.0 * share, name.c_str());
      return;
    }
    Batch batch;
    batch.sequences = batches_.load(first_ + request.step).sequences;
    engine_.zero_grad();
    const StepResult result = engine_.run(plan, batch);
    const double measured = result.trace.seconds;
    seconds[name] = measured;
    std::fprintf(stderr, "  %3.0f%%  %-17s  %7.2f s, predicted %7.2f s\n", 100.0 * share,
                 name.c_str(), measured, plan.predicted->seconds);
    if (name == planners_.front() && share == budgets_.front()) {
      calibrator.observe(request.step, plan, result.trace);
    }
    runs.tokens_per_second.push_back(static_cast<double>(plan.total_tokens()) / measured);
    runs.bubble.push_back(result.trace.bubble());
    runs.plan_seconds.push_back(plan.planner.seconds);
    runs.time_error.push_back(std::abs(plan.predicted->seconds / measured - 1.0));
    double busy = 0.0;
    double again = 0.0;
    const CostModel cost = plan_cost(context_.profile, plan);
    const std::vector<bool> cut = plan.cut_sequences();
    for (const TraceEvent& event : result.trace.events) {
      busy += event.end - event.begin;
      again += event.recompute;
      const Chunk& chunk = plan.replicas[0].chunk(event.instruction);
      const ChunkShape shape = chunk_shape(chunk, plan.sequences, cut);
      const Op op = event.instruction.op;
      Seconds predicted = cost.seconds(op, event.stage, shape);
      if (starts_backward(op)) {
        predicted += cost.recompute(event.stage, shape, chunk.kept_on(event.stage));
      }
      runs.event_error.push_back(std::abs(predicted / (event.end - event.begin) - 1.0));
    }
    runs.recompute.push_back(again / busy);
    for (std::size_t p = 0; p < stages_.size(); ++p) {
      runs.memory_error.push_back(
          std::abs(plan.predicted->stages[p].peak_bytes / result.peak_bytes[p] - 1.0));
      runs.over_budget.push_back(result.peak_bytes[p] / budget);
    }
  }

  void print() const {
    std::printf("%zu stages, %d steps of %d documents cut at %lld tokens, %s\n", stages_.size(),
                steps_, config_.training.sequences_per_step,
                static_cast<long long>(config_.data.max_sequence_length),
                to_string(config_.training.dtype));
    std::printf(
        "budget  planner            tokens/s  time/ours (least..most)   bubble  recomputed  "
        "step err  instr err  peak err (most)  peak/budget  does not fit\n");
    for (const double share : budgets_) {
      for (const std::string& name : planners_) {
        const auto found = runs_.find({share, name});
        if (found == runs_.end()) continue;
        const Runs& r = found->second;
        if (r.tokens_per_second.empty()) {
          std::printf("%5.0f%%   %-17s  does not fit in any of %d steps\n", 100.0 * share,
                      name.c_str(), r.failed);
          continue;
        }
        const auto [low, high] =
            r.against_epp.empty()
                ? std::pair{0.0, 0.0}
                : std::pair{*std::min_element(r.against_epp.begin(), r.against_epp.end()),
                            largest(r.against_epp)};
        std::printf(
            "%5.0f%%   %-17s %9.0f   %6.3f (%.3f..%.3f)   %6.1f%%   %6.1f%%   %6.1f%%   %6.1f%%   "
            "%5.1f%% (%.1f%%)   %8.3f   %d\n",
            100.0 * share, name.c_str(), median(r.tokens_per_second), median(r.against_epp), low,
            high, 100.0 * median(r.bubble), 100.0 * median(r.recompute),
            100.0 * median(r.time_error), 100.0 * median(r.event_error),
            100.0 * median(r.memory_error), 100.0 * largest(r.memory_error), largest(r.over_budget),
            r.failed);
      }
    }
  }

  int first_;  // number of the first step; plans count from 0
  int steps_;
  std::vector<std::string> planners_;
  std::vector<double> budgets_;
  TrainConfig config_;
  Corpus corpus_;
  BatchSource batches_;
  PlanContext context_;
  std::vector<LayerRange> stages_;
  Engine engine_;
  std::map<std::pair<double, std::string>, Runs> runs_;
};

}  // namespace
}  // namespace infinipipe

int main(int count, char** arguments) {
  using namespace infinipipe;
  return bench_main([&] {
    BenchArguments given =
        bench_arguments(count, arguments, "bench_training",
                        {{"first", "0"},
                         {"steps", "6"},
                         {"planners", listed({planner_name::kElastic, planner_name::kSlices,
                                              planner_name::kPacked, planner_name::kGpipe},
                                             ",", ",")},
                         {"budgets", "1,0.5,0.25"}});
    const std::vector<double> budgets = positive_numbers(given, "bench_training", "budgets");
    for (const std::string& name : words(given.own["planners"])) {
      std::vector<std::string> known = planner_names();
      for (const std::string& plain : planner_names()) {
        for (const KeepLevel& level : kKeepLevels) {
          if (level.keep == Keep::kAll) continue;
          known.push_back(plain + ":" + level.name);
          known.push_back(plain + ":-" + level.name);
        }
      }
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        throw InputError(
            "bench_training: planners", "found " + name,
            "expected planners' names, each alone, with a level of keeping (NAME:LEVEL) or "
            "without one (NAME:-LEVEL)");
      }
    }
    Bench(std::move(given.config), std::atoi(given.own["first"].c_str()),
          std::atoi(given.own["steps"].c_str()), words(given.own["planners"]), budgets)
        .run();
  });
}
