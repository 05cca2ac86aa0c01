#include "planner/parallel_choice.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>

#include "cost/layouts.h"
#include "cost/lower_bound.h"
#include "cost/step_overhead.h"
#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"
#include "planner/bound_context.h"

namespace infinipipe {

namespace {

// Adds one step to the option's sums.
void add_step(ParallelOption& option, const Plan& plan, const CostModel& cost,
              const Evaluator& evaluator, int devices_per_node) {
  Seconds slowest = 0.0;
  Seconds compute = 0.0;
  Seconds recompute = 0.0;
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const Evaluation evaluation = evaluator.evaluate(plan, cost, ReplicaId(r));
    slowest = std::max(slowest, evaluation.seconds);
    for (const StagePrediction& stage : evaluation.stages) {
      compute += stage.compute;
      recompute += stage.recompute;
      option.peak_bytes = std::max(option.peak_bytes, stage.peak_bytes);
    }
  }
  const double lanes = static_cast<double>(plan.replicas.size() * plan.stages.size());
  const StepOverhead overhead = step_overhead(plan, cost, devices_per_node);
  option.compute += compute / lanes;
  option.recompute += recompute / lanes;
  option.wait += slowest - (compute + recompute) / lanes;
  option.gathers += overhead.gathers;
  option.reduction += overhead.reduction;
  option.heads += overhead.heads;
  option.bubble += plan.predicted->bubble;
  option.seconds += slowest + overhead.total();
  option.lower_bound += plan.predicted->lower_bound;
}

std::string seconds_text(const char* format, Seconds seconds) {
  char text[96];
  std::snprintf(text, sizeof(text), format, seconds);
  return text;
}

// The part with which the option loses most against the best.
std::string loss(const ParallelOption& option, const ParallelOption& best) {
  const std::array<std::pair<const char*, Seconds>, 6> parts = {
      {{"%+.2f s compute and all-to-all", option.compute - best.compute},
       {"%+.2f s recomputation", option.recompute - best.recompute},
       {"%+.2f s waiting", option.wait - best.wait},
       {"%+.2f s gathers of weights", option.gathers - best.gathers},
       {"%+.2f s reduction of gradients", option.reduction - best.reduction},
       {"%+.2f s uneven heads", option.heads - best.heads}}};
  const auto largest = [&](std::size_t except) {
    std::size_t most = parts.size();
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (i == except) continue;
      if (most == parts.size() || parts[i].second > parts[most].second) most = i;
    }
    return most;
  };
  const std::size_t first = largest(parts.size());
  const std::size_t second = largest(first);
  const Seconds whole = option.seconds - best.seconds;
  std::string text = seconds_text("%+.1f%%: ", 100.0 * whole / best.seconds) +
                     seconds_text(parts[first].first, parts[first].second);
  if (parts[second].second > 0.25 * whole) {
    text += ", " + seconds_text(parts[second].first, parts[second].second);
  }
  return text;
}

ParallelOption try_layout(const PlanContext& base, const Layout& layout, int devices_per_node,
                          std::span<const std::vector<Tokens>> sample,
                          const std::shared_ptr<const Evaluator>& evaluator) {
  const auto infeasible = [&](const std::string& why, Bytes missing) {
    ParallelOption option;
    option.parallelism = layout.parallelism;
    option.note = why;
    option.missing = missing;
    return option;
  };
  if (!layout.possible()) return infeasible(layout.left_out, 0.0);
  ParallelOption option;
  option.parallelism = layout.parallelism;
  option.mark = layout.mark;
  PlanContext context = base;
  context.parallelism = layout.parallelism;
  context.layers_per_stage.reset();
  Tokens tokens = 0;
  try {
    const auto planner = make_planner(context, evaluator);
    for (std::size_t i = 0; i < sample.size(); ++i) {
      const Plan plan = planner->plan({.sequences = sample[i], .step = static_cast<int>(i)});
      const CostModel cost = plan_cost(context.profile, plan);
      option.stages = plan.stages;
      add_step(option, plan, cost, *evaluator, devices_per_node);
      tokens += plan.total_tokens();
    }
  } catch (const DoesNotFit& error) {
    return infeasible(error.what(), error.missing());
  }
  option.feasible = true;
  if (option.seconds > 0.0) {
    option.tokens_per_second = static_cast<double>(tokens) / option.seconds;
  }
  const auto batches = static_cast<double>(sample.size());
  for (double* part :
       {&option.seconds, &option.lower_bound, &option.compute, &option.recompute, &option.wait,
        &option.gathers, &option.reduction, &option.heads, &option.bubble}) {
    *part /= batches;
  }
  return option;
}

}  // namespace

ParallelChoice choose_parallelism(const PlanContext& context, int devices, int devices_per_node,
                                  std::span<const std::vector<Tokens>> sample,
                                  const std::shared_ptr<const Evaluator>& evaluator) {
  const std::vector<Layout> layouts =
      cluster_layouts(context.profile, context.layers, devices, devices_per_node);
  if (sample.empty()) throw InputError("sample", "no batch of lengths", "expected at least one");
  require_known_planner(context);
  if (const auto level = remade_level(context.config.recompute_keeps)) {
    require_known(context.profile, *level);
  }
  ParallelChoice choice;
  choice.devices = devices;
  choice.batches = static_cast<int>(sample.size());
  choice.bytes_per_device = context.limit();
  for (const std::vector<Tokens>& batch : sample) {
    choice.tokens += std::accumulate(batch.begin(), batch.end(), Tokens{0});
  }
  for (const Layout& layout : layouts) {
    choice.options.push_back(try_layout(context, layout, devices_per_node, sample, evaluator));
  }
  std::stable_sort(choice.options.begin(), choice.options.end(),
                   [](const ParallelOption& a, const ParallelOption& b) {
                     if (a.feasible != b.feasible) return a.feasible;
                     return a.feasible && a.seconds < b.seconds;
                   });
  for (ParallelOption& option : choice.options) {
    if (option.feasible) {
      option.note =
          &option == &choice.options.front() ? "fastest" : loss(option, choice.options.front());
      if (!option.mark.empty()) option.note += "; " + option.mark;
    }
  }
  return choice;
}

}  // namespace infinipipe
