// The longest single document that can be trained on at a fixed memory budget a stage:
//
//   bench_reach CONFIG.toml [--budgets MIB,MIB,...] [--unit TOKENS] [--section.key value ...]
//
// For each budget and planner (epp, seq1f1b, 1f1b, each free to recompute everything) the longest
// document, in units of TOKENS, that its planner fits; that document is then run, forward, backward
// and update, and the meter's peaks are set against the budget. One unit more is refused. Documents
// are at most data.max_sequence_length; their tokens are drawn at random, which neither time nor
// memory notices.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/random.h"
#include "planner/layer_split.h"
#include "planner/planners.h"
#include "real_run.h"

namespace infinipipe {
namespace {

const std::vector<std::string> kPlanners = {planner_name::kElastic, planner_name::kSlices,
                                            planner_name::kPacked};

class Bench final {
 public:
  Bench(TrainConfig config, Tokens unit)
      : config_(std::move(config)),
        unit_(unit),
        context_(plan_context(config_, bench_profile(config_))),
        stages_(stage_layers(context_)),
        engine_(make_engine_options(config_, stages_, nullptr)) {}

  void run(const std::vector<double>& budgets) {
    const CostModel cost(context_.profile, context_.parallelism, stages_);
    std::string states;
    for (std::size_t p = 0; p < stages_.size(); ++p) {
      states += (p > 0 ? ", " : "") + format_bytes(cost.state_bytes(StageId(p)));
    }
    std::printf("%s parameters, %zu stages, model states %s a stage, %s\n",
                format_count(config_.model.parameters()).c_str(), stages_.size(), states.c_str(),
                to_string(config_.training.dtype));
    std::printf(
        "budget a stage  planner   longest document  over %s  slices  recomputed  step, s  "
        "tokens/s  peak / budget\n",
        kPlanners.back().c_str());
    for (const double budget : budgets) {
      std::vector<Tokens> reach;
      for (const std::string& name : kPlanners) reach.push_back(longest(name, budget));
      for (std::size_t i = 0; i < kPlanners.size(); ++i) {
        line(kPlanners[i], budget, reach[i], reach.back());
      }
    }
  }

 private:
  PlanRequest request(Tokens tokens) const {
    PlanRequest result;
    result.sequences = {tokens};
    return result;
  }

  bool fits(const std::string& name, Bytes budget, Tokens tokens) const {
    try {
      planner_at(context_, stages_, name, budget)->plan(request(tokens));
      return true;
    } catch (const RunError&) {
      return false;
    }
  }

  Tokens longest(const std::string& name, Bytes budget) const {
    Tokens low = 0;  // fits, in units
    Tokens high = config_.data.max_sequence_length / unit_ + 1;
    while (high - low > 1) {
      const Tokens middle = (low + high) / 2;
      (fits(name, budget, middle * unit_) ? low : high) = middle;
    }
    return low * unit_;
  }

  void line(const std::string& name, Bytes budget, Tokens tokens, Tokens other) {
    if (tokens == 0) {
      std::printf("%14s  %-8s  nothing fits\n", format_bytes(budget).c_str(), name.c_str());
      return;
    }
    const Plan plan = planner_at(context_, stages_, name, budget)->plan(request(tokens));
    Batch batch;
    auto& sequence = batch.sequences.emplace_back();
    Random random(static_cast<std::uint64_t>(tokens));
    for (Tokens i = 0; i < tokens; ++i) {
      sequence.push_back(random.between(0, config_.model.vocab_size - 1));
    }
    engine_.zero_grad();
    const StepResult result = engine_.run(plan, batch);
    engine_.optimizer_step(0);
    Bytes peak = 0.0;
    for (const Bytes bytes : result.peak_bytes) peak = std::max(peak, bytes);
    const std::int64_t again = plan.recomputed().layers;
    const auto layers =
        static_cast<std::int64_t>(plan.replicas[0].pipelines[0].chunks.size()) * plan.layer_count();
    std::array<char, 16> over{};  // the last planner's reach
    if (other > 0) {
      std::snprintf(over.data(), over.size(), "%.2f",
                    static_cast<double>(tokens) / static_cast<double>(other));
    }
    std::printf(
        "%14s  %-8s  %16s  %9s  %6zu  %9.0f%%  %7.1f  %8.0f  %13.3f%s\n",
        format_bytes(budget).c_str(), name.c_str(), format_count(tokens).c_str(), over.data(),
        plan.replicas[0].pipelines[0].chunks.size(),
        100.0 * static_cast<double>(again) / static_cast<double>(layers), result.trace.seconds,
        static_cast<double>(tokens) / result.trace.seconds, peak / budget,
        tokens + unit_ > config_.data.max_sequence_length ? "  (the limit of the search)" : "");
    std::fflush(stdout);
  }

  TrainConfig config_;
  Tokens unit_;
  PlanContext context_;
  std::vector<LayerRange> stages_;
  Engine engine_;
};

}  // namespace
}  // namespace infinipipe

int main(int count, char** arguments) {
  using namespace infinipipe;
  return bench_main([&] {
    BenchArguments given = bench_arguments(count, arguments, "bench_reach",
                                           {{"budgets", "384,512,768"}, {"unit", "256"}});
    std::vector<double> budgets = positive_numbers(given, "bench_reach", "budgets");
    for (double& budget : budgets) budget *= 1024.0 * 1024.0;
    const Tokens unit = std::max(1, std::atoi(given.own["unit"].c_str()));
    Bench(std::move(given.config), unit).run(budgets);
  });
}
