#include "infinipipe/planner/parallel_choice.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>

#include "infinipipe/base/error.h"
#include "infinipipe/cost/lower_bound.h"
#include "infinipipe/cost/step_overhead.h"
#include "infinipipe/planner/factory.h"
#include "planner/site.h"

namespace infinipipe {

namespace {

std::vector<Parallelism> layouts(int devices, int devices_per_node, int layers) {
  std::vector<Parallelism> result;
  for (int stages = 1; stages <= std::min(devices, layers); ++stages) {
    if (devices % stages != 0) continue;
    for (int degree = 1; degree <= devices / stages; degree *= 2) {
      if (devices / stages % degree != 0) continue;
      if (degree > devices_per_node && degree % devices_per_node != 0) continue;
      result.push_back({stages, degree, devices / stages / degree});
    }
  }
  return result;
}

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
  const std::array<std::pair<const char*, Seconds>, 5> parts = {
      {{"%+.2f s compute and all-to-all", option.compute - best.compute},
       {"%+.2f s recomputation", option.recompute - best.recompute},
       {"%+.2f s waiting", option.wait - best.wait},
       {"%+.2f s gathers of weights", option.gathers - best.gathers},
       {"%+.2f s reduction of gradients", option.reduction - best.reduction}}};
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

ParallelOption try_layout(const PlanContext& base, const Parallelism& parallelism,
                          int devices_per_node, std::span<const std::vector<Tokens>> sample,
                          const std::shared_ptr<const Evaluator>& evaluator) {
  ParallelOption option;
  option.parallelism = parallelism;
  PlanContext context = base;
  context.parallelism = parallelism;
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
  } catch (const InputError& error) {
    option = {.parallelism = parallelism, .stages = {}, .note = error.what()};
    return option;
  } catch (const RunError& error) {
    option = {.parallelism = parallelism, .stages = {}, .note = error.what()};
    return option;
  }
  option.feasible = true;
  if (option.seconds > 0.0) {
    option.tokens_per_second = static_cast<double>(tokens) / option.seconds;
    option.bubble = option.wait / (option.compute + option.recompute + option.wait);
  }
  const auto batches = static_cast<double>(sample.size());
  for (Seconds* part : {&option.seconds, &option.lower_bound, &option.compute, &option.recompute,
                        &option.wait, &option.gathers, &option.reduction}) {
    *part /= batches;
  }
  return option;
}

}  // namespace

ParallelChoice choose_parallelism(const PlanContext& context, int devices, int devices_per_node,
                                  std::span<const std::vector<Tokens>> sample,
                                  const std::shared_ptr<const Evaluator>& evaluator) {
  if (devices < 1) {
    throw InputError("cluster.devices", "found " + std::to_string(devices), "expected at least 1",
                     "say how many devices the cluster has");
  }
  if (devices_per_node < 1) {
    throw InputError("cluster.devices_per_node", "found " + std::to_string(devices_per_node),
                     "expected at least 1");
  }
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
  for (const Parallelism& parallelism : layouts(devices, devices_per_node, context.layers)) {
    choice.options.push_back(try_layout(context, parallelism, devices_per_node, sample, evaluator));
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
    }
  }
  return choice;
}

}  // namespace infinipipe
