#include "planner/recompute_choice.h"

#include <gtest/gtest.h>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// Nothing fits, so that no plan is stored anew.
class NothingFits final : public Evaluator {
 public:
  Evaluation evaluate(const Plan&, const CostModel&, ReplicaId) const override {
    Evaluation result;
    result.over_stage = StageId(0);
    result.over_bytes = 1.0;
    return result;
  }
};

// Always the same plan of one chunk, or none.
class FixedPlanner final : public Planner {
 public:
  FixedPlanner(Seconds seconds, int recompute, Bytes peak, const std::string& name, int* asked)
      : asked_(asked) {
    plan_.planner.name = name;
    plan_.stages = {{0, 1}};
    plan_.sequences = {5};
    plan_.predicted.emplace().seconds = seconds;
    plan_.predicted->stages = {{.recompute = recompute * 0.1, .peak_bytes = peak}};
    Pipeline& pipeline = plan_.replicas.emplace_back().pipelines.emplace_back();
    Chunk& chunk = pipeline.chunks.emplace_back();
    chunk.slices = {{SequenceId(0), 0, 5}};
    chunk.recompute = {recompute};
  }
  Plan plan(const PlanRequest&) const override {
    ++*asked_;
    if (plan_.predicted->seconds < 0.0) throw RunError("plan", "does not fit");
    return plan_;
  }

 private:
  Plan plan_;
  int* asked_;
};

struct Outcome {
  std::string winner = "none";
  int attention_asked = 0;
  int input_asked = 0;
};

// Seconds below 0: that planner has no plan. The limit is 1,000 bytes.
Outcome choose(Seconds attention, int recompute, Seconds input, Bytes peak = 900.0,
               bool forward_only = false) {
  PlanContext context;
  ModelSpec model;
  model.num_hidden_layers = 1;
  context.profile = estimated_profile(model, Dtype::kFloat32);
  context.layers = 1;
  context.bytes_per_stage = 1000.0;
  Outcome outcome;
  const auto planner = make_recompute_choice(
      std::make_shared<const Site>(context, std::make_shared<NothingFits>()),
      std::make_unique<FixedPlanner>(attention, recompute, peak, "attention",
                                     &outcome.attention_asked),
      std::make_unique<FixedPlanner>(input, 1, peak, "input", &outcome.input_asked));
  try {
    const Plan plan = planner->plan({.sequences = {5}, .forward_only = forward_only});
    outcome.winner = plan.planner.name;
    EXPECT_TRUE(forward_only || plan.planner.seconds > 0.0);
  } catch (const RunError&) {
    // Neither fits.
  }
  return outcome;
}

TEST(RecomputeChoice, TakesTheFaster) {
  EXPECT_EQ(choose(2.0, 1, 3.0).winner, "attention");
  EXPECT_EQ(choose(3.0, 1, 2.0).winner, "input");
  EXPECT_EQ(choose(2.0, 1, 2.0).winner, "attention");
}

TEST(RecomputeChoice, AsksOnceWhereMemoryDoesNotBind) {
  EXPECT_EQ(choose(3.0, 0, 2.0, 400.0).winner, "attention");
  EXPECT_EQ(choose(3.0, 0, 2.0, 400.0).input_asked, 0);
  EXPECT_EQ(choose(3.0, 0, 2.0, 600.0).winner, "input") << "more than half of the memory";
}

TEST(RecomputeChoice, TakesWhatFits) {
  EXPECT_EQ(choose(-1.0, 1, 3.0).winner, "input");
  EXPECT_EQ(choose(3.0, 1, -1.0).winner, "attention");
  EXPECT_EQ(choose(-1.0, 1, -1.0).winner, "none");
}

TEST(RecomputeChoice, AnEvaluationRecomputesNothing) {
  const Outcome outcome = choose(1.0, 1, 2.0, 900.0, true);
  EXPECT_EQ(outcome.winner, "input");
  EXPECT_EQ(outcome.attention_asked, 0);
}

}  // namespace
}  // namespace infinipipe
