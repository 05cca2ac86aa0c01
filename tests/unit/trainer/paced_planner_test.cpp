#include "trainer/paced_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/sim/simulator.h"
#include "trainer/setup.h"

namespace infinipipe {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

const std::vector<Tokens> kBatch = {3000, 900, 700, 512, 300, 200, 150, 64};

PlanContext context() {
  PlanContext result;
  ModelSpec model;
  model.num_hidden_layers = 6;
  result.profile = estimated_profile(model, Dtype::kFloat32);
  result.layers = static_cast<int>(model.num_hidden_layers);
  result.parallelism.stages = 2;
  return result;
}

Plan plan_at(std::vector<double> pace, bool decides = true) {
  return make_paced_planner(context(), decides)
      ->plan({.sequences = kBatch, .step = 3, .stage_pace = std::move(pace)});
}

TEST(PacedPlanner, WithoutAPaceItIsThePlannerItself) {
  const Plan plan = plan_at({});
  const Plan even = make_judged_planner(context())->plan({.sequences = kBatch, .step = 3});
  EXPECT_EQ(plan_hash(plan), plan_hash(even));
  EXPECT_TRUE(plan.stage_pace.empty());
  EXPECT_EQ(plan.predicted->seconds, even.predicted->seconds);
}

// Slower as a whole, or by a noisy few percent: the same decisions, longer times.
TEST(PacedPlanner, AnEvenPaceChangesTimesAndNothingElse) {
  const Plan plan = plan_at({});
  for (const auto& pace : {std::vector<double>{1.5, 1.5}, {0.75, 0.75}, {1.02, 0.98}}) {
    const double mean = (pace[0] + pace[1]) / 2.0;
    const Plan paced = plan_at(pace);
    EXPECT_EQ(plan_hash(paced), plan_hash(plan));
    EXPECT_THAT(paced.stage_pace, Each(mean));
    EXPECT_DOUBLE_EQ(paced.predicted->seconds, mean * plan.predicted->seconds);
    EXPECT_DOUBLE_EQ(paced.predicted->lower_bound, mean * plan.predicted->lower_bound);
    EXPECT_EQ(paced.predicted->bubble, plan.predicted->bubble);
    for (std::size_t p = 0; p < 2; ++p) {
      const StagePrediction& a = paced.predicted->stages[p];
      const StagePrediction& b = plan.predicted->stages[p];
      EXPECT_DOUBLE_EQ(a.compute, mean * b.compute);
      EXPECT_DOUBLE_EQ(a.wait, mean * b.wait);
      EXPECT_EQ(a.peak_bytes, b.peak_bytes);
    }
  }
}

// Unless it was asked for, what was measured changes what is predicted and nothing else.
TEST(PacedPlanner, AnUnevenPaceDecidesNothingByDefault) {
  const Plan even = plan_at({});
  for (const auto& pace : {std::vector<double>{1.75, 1.0}, {0.25, 4.0}, {1.0, 1.1}}) {
    const double mean = (pace[0] + pace[1]) / 2.0;
    const Plan paced = plan_at(pace, false);
    EXPECT_EQ(plan_hash(paced), plan_hash(even));
    EXPECT_THAT(paced.stage_pace, Each(mean));
    EXPECT_DOUBLE_EQ(paced.predicted->seconds, mean * even.predicted->seconds);
  }
}

TEST(PacedPlanner, AnUnevenPaceIsPlannedFor) {
  const std::vector<double> pace = {1.75, 1.0};
  const Plan paced = plan_at(pace);
  const Plan even = plan_at({});
  EXPECT_FALSE(validate(paced).has_value());
  EXPECT_EQ(paced.stages, even.stages) << "a run keeps its layers";
  EXPECT_EQ(paced.profile_hash, even.profile_hash) << "the measured profile, not a paced one";
  EXPECT_THAT(paced.stage_pace, ElementsAre(1.75, 1.0));
  // What it predicts is what its plan takes on a machine of that pace, and no worse than the plan
  // for an even one.
  const CostModel cost(at_pace(context().profile, pace), paced.parallelism, paced.stages);
  const Seconds seconds = simulate(paced, cost).prediction.seconds;
  EXPECT_NEAR(paced.predicted->seconds, seconds, 0.01 * seconds);
  EXPECT_LE(seconds, simulate(even, cost).prediction.seconds * 1.001);
  EXPECT_GT(paced.predicted->stages[0].compute, 1.5 * even.predicted->stages[0].compute);
}

TEST(PacedPlanner, SamePaceSamePlan) {
  EXPECT_EQ(plan_hash(plan_at({1.5, 1.0})), plan_hash(plan_at({1.5, 1.0})));
  const Plan plan = plan_at({1.5, 1.0});
  const Plan read = plan_from_json(plan_to_json(plan), "plan.json");
  EXPECT_EQ(read.stage_pace, plan.stage_pace);
}

}  // namespace
}  // namespace infinipipe
