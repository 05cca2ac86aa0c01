// No plan that fits its memory is faster than the bound, and the bound is not idle.
#include <gtest/gtest.h>

#include "cost/lower_bound.h"
#include "infinipipe/sim/simulator.h"
#include "random_plans.h"
#include "support/keeping.h"
#include "unit/core/test_plans.h"

namespace infinipipe {
namespace {

using testing::BackwardKind;
using testing::RandomShape;

double peak_of(const Simulation& simulation) {
  double peak = 0.0;
  for (const auto& stage : simulation.prediction.stages) peak = std::max(peak, stage.peak_bytes);
  return peak;
}

void expect_below(const Plan& plan, const CostModel& cost) {
  const Simulation simulation = simulate(plan, cost);
  const Seconds seconds = simulation.prediction.seconds;
  const Bytes peak = peak_of(simulation);
  const bool evaluation = plan.forward_only();
  const bool sub_groups = plan.in_sub_groups();
  double before = 0.0;
  for (const Bytes limit : {0.0, 2.0 * peak, 1.1 * peak, peak}) {
    const LowerBound any = lower_bound(cost.profile(), plan.parallelism, plan.layer_count(),
                                       plan.sequences, limit, evaluation, sub_groups);
    const LowerBound given = lower_bound(cost, plan.sequences, limit, evaluation, sub_groups);
    ASSERT_LE(any.seconds, seconds) << "limit " << limit;
    ASSERT_LE(given.seconds, seconds) << "limit " << limit;
    ASSERT_LE(any.seconds, given.seconds * (1 + 1e-9));
    ASSERT_TRUE(any.fits);
    ASSERT_TRUE(given.fits) << "the plan itself fits";
    double recomputed = 0.0;
    for (const auto& stage : simulation.prediction.stages) recomputed += stage.recompute;
    if (plan.replicas.size() == 1) {
      ASSERT_LE(given.recompute, recomputed * (1 + 1e-9)) << "limit " << limit;
    }
    ASSERT_GT(any.seconds, 0.0);
    const LowerBound more = lower_bound(cost, plan.sequences, limit, evaluation, true);
    const LowerBound less = lower_bound(cost, plan.sequences, limit, evaluation, false);
    ASSERT_LE(more.seconds, less.seconds * (1 + 1e-9)) << "sub-groups are a choice more";
    ASSERT_GE(given.seconds * (1 + 1e-9), before) << "less memory never helps";
    before = given.seconds;
  }
}

TEST(LowerBoundProperty, NoRandomPlanIsFaster) {
  for (int seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(static_cast<std::uint64_t>(seed), 43);
    const RandomShape shape = testing::random_shape(random);
    Plan plan = testing::random_plan(random, shape);
    const Json json = testing::random_profile(random, shape);
    testing::random_levels(random, json, plan);
    if (seed % 2 == 0) testing::random_degrees(random, plan);
    const CostModel cost = plan_cost(profile_from_json(json, "random"), plan);
    ASSERT_NO_FATAL_FAILURE(expect_below(plan, cost));
  }
}

// Few sequences, all work recomputed or nearly: where memory's part of the bound decides.
TEST(LowerBoundProperty, NoPlanUnderMemoryPressureIsFaster) {
  int forced = 0;
  for (int seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(static_cast<std::uint64_t>(seed), 44);
    RandomShape shape = testing::random_shape(random);
    shape.sequences = testing::pick(random, 1, 2);
    shape.replicas = 1;
    shape.backward = BackwardKind::kWhole;
    Plan plan = testing::random_plan(random, shape);
    for (Pipeline& pipeline : plan.replicas[0].pipelines) {
      for (Chunk& chunk : pipeline.chunks) {
        for (std::size_t p = 0; p < chunk.keeping.size(); ++p) {
          chunk.keeping[p] =
              testing::inputs(std::max(0, plan.stages[p].count() - testing::pick(random, 0, 1)));
        }
      }
    }
    const Json json = testing::random_profile(random, shape);
    testing::random_levels(random, json, plan);
    if (seed % 2 == 0) testing::random_degrees(random, plan);
    const CostModel cost = plan_cost(profile_from_json(json, "random"), plan);
    ASSERT_NO_FATAL_FAILURE(expect_below(plan, cost));
    forced += lower_bound(cost, plan.sequences, peak_of(simulate(plan, cost))).recompute > 0.0;
  }
  EXPECT_GT(forced, 300) << "memory forced too little to test anything";
}

// The best of many random plans of one small batch stays above, and not far above.
TEST(LowerBoundProperty, IsWithinReachOfTheBestOfManyPlans) {
  double worst = 0.0;
  for (int batch = 0; batch < 20; ++batch) {
    Random random(static_cast<std::uint64_t>(batch), 45);
    RandomShape shape = testing::random_shape(random);
    shape.stages = 1 + batch % 2;
    shape.layers = 4;
    shape.replicas = 1;
    shape.pipelines = 1;
    shape.sequences = 6;
    shape.backward = BackwardKind::kMixed;
    const Json json = testing::random_profile(random, shape);
    std::vector<Tokens> batch_lengths;
    double best = 1e300;
    for (int i = 0; i < 400; ++i) {
      Random plan_random(static_cast<std::uint64_t>(batch), 46);  // the same batch,
      Plan plan = testing::random_plan(plan_random, shape);
      Random again(static_cast<std::uint64_t>(i), 47);  // planned anew
      plan.replicas[0].pipelines.clear();
      std::vector<int> all;
      for (int s = 0; s < static_cast<int>(plan.sequences.size()); ++s) all.push_back(s);
      plan.replicas[0].pipelines.push_back(testing::random_pipeline(again, plan, all, shape));
      for (Chunk& chunk : plan.replicas[0].pipelines[0].chunks) {
        std::fill(chunk.keeping.begin(), chunk.keeping.end(), Keeping{});
      }
      testing::random_instructions(again, plan.replicas[0], shape.stages, shape.backward);
      const CostModel cost(profile_from_json(json, "random"), plan.parallelism, plan.stages);
      const Seconds seconds = SimulatorEvaluator(0.0).evaluate(plan, cost, ReplicaId(0)).seconds;
      const Seconds bound = lower_bound(cost, plan.sequences, 0.0).seconds;
      ASSERT_LE(bound, seconds) << "batch " << batch << ", plan " << i;
      best = std::min(best, seconds / bound);
    }
    worst = std::max(worst, best);
  }
  EXPECT_LT(worst, 2.0);
}

TEST(LowerBoundProperty, OneStageWithoutChunkCostIsAttained) {
  for (int seed = 0; seed < 200; ++seed) {
    Random random(static_cast<std::uint64_t>(seed), 48);
    RandomShape shape = testing::random_shape(random);
    shape.stages = 1;
    shape.replicas = 1;
    shape.slices = 1;
    shape.backward = seed % 2 == 0 ? BackwardKind::kWhole : BackwardKind::kNone;
    Plan plan = testing::random_plan(random, shape);
    for (Pipeline& pipeline : plan.replicas[0].pipelines) {
      for (Chunk& chunk : pipeline.chunks) chunk.keeping = {Keeping{}};
    }
    Json json = testing::random_profile(random, shape);
    json["forward"]["seconds_per_chunk"] = 0.0;
    json["backward"]["seconds_per_chunk"] = 0.0;
    const CostModel cost(profile_from_json(json, "random"), plan.parallelism, plan.stages);
    const Seconds seconds = simulate(plan, cost).prediction.seconds;
    EXPECT_NEAR(lower_bound(cost, plan.sequences, 0.0, plan.forward_only()).seconds / seconds, 1.0,
                1e-9)
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace infinipipe
