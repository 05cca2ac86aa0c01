// Plans one batch of eight documents for a 7B model on 32 GPUs: four stages of eight. Proves the
// plan, simulates it and draws it. Needs no LibTorch.
//
//   plan_a_batch [PROFILE.json]      writes plan.json and plan.html here
#include <cstdio>
#include <exception>
#include <memory>

#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/report/plan_text.h"
#include "infinipipe/report/timeline.h"
#include "infinipipe/sim/simulator.h"

int main(int argc, char** argv) try {
  using namespace infinipipe;

  // A cluster and a model to plan for; `infinipipe profile` measures one.
  PlanContext context;
  context.profile = read_profile(argc > 1 ? argv[1] : PROFILE);
  context.layers = static_cast<int>(context.profile.model.num_hidden_layers);
  context.parallelism = {.stages = 4, .sequence_parallel = 8};

  // The simulator judges what the planner tries; both must know the same memory limit.
  const auto planner = make_planner(context, std::make_shared<SimulatorEvaluator>(context.limit()));
  const Plan plan =
      planner->plan({.sequences = {200'000, 3'000, 900, 41'000, 12'000, 750, 6'400, 23'000}});

  require_valid(plan);
  const CostModel cost(context.profile, plan.parallelism, plan.stages);
  const Simulation simulation = simulate(plan, cost);
  require_fits(plan, cost, context.limit());

  std::printf("%s\n", explain_plan(plan).c_str());
  write_plan("plan.json", plan);
  write_html_timeline("plan.html", plan, simulation.trace);
  std::printf("simulated: %.3f s a step; see plan.html\n", simulation.prediction.seconds);
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}
