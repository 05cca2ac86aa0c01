#include "planner/recompute_choice.h"

#include <gtest/gtest.h>

#include "clock_evaluator.h"
#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"

namespace infinipipe {
namespace {

// Always the same plan, or none.
class FixedPlanner final : public Planner {
 public:
  FixedPlanner(Seconds seconds, int recompute, RecomputeKeeps keeps, int* asked) : asked_(asked) {
    plan_.planner.seconds = 1.0;
    plan_.recompute_keeps = keeps;
    plan_.predicted.emplace().seconds = seconds;
    Pipeline& pipeline = plan_.replicas.emplace_back().pipelines.emplace_back();
    pipeline.chunks.emplace_back().recompute = {0, recompute};
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
  std::string keeps;  // of the plan that won; "none" where there was none
  int asked = 0;      // how often the second planner was
  Seconds planning = 0.0;
};

// Seconds below 0: that planner has no plan.
Outcome choose(Seconds attention, int recompute, Seconds input) {
  Outcome outcome;
  int first = 0;
  const auto planner = make_recompute_choice(
      std::make_unique<FixedPlanner>(attention, recompute, RecomputeKeeps::kAttention, &first),
      std::make_unique<FixedPlanner>(input, 1, RecomputeKeeps::kInput, &outcome.asked));
  try {
    const Plan plan = planner->plan({});
    outcome.keeps = to_string(plan.recompute_keeps);
    outcome.planning = plan.planner.seconds;
  } catch (const RunError&) {
    outcome.keeps = "none";
  }
  EXPECT_EQ(first, 1);
  return outcome;
}

TEST(RecomputeChoice, TakesTheFaster) {
  EXPECT_EQ(choose(2.0, 1, 3.0).keeps, "attention");
  EXPECT_EQ(choose(3.0, 1, 2.0).keeps, "input");
  EXPECT_EQ(choose(2.0, 1, 2.0).keeps, "attention");
  EXPECT_EQ(choose(3.0, 1, 2.0).planning, 2.0) << "both searches count";
}

TEST(RecomputeChoice, AsksOnceWhereNothingIsRecomputed) {
  const Outcome outcome = choose(3.0, 0, 2.0);
  EXPECT_EQ(outcome.keeps, "attention");
  EXPECT_EQ(outcome.asked, 0);
}

TEST(RecomputeChoice, TakesWhatFits) {
  EXPECT_EQ(choose(-1.0, 1, 3.0).keeps, "input");
  EXPECT_EQ(choose(3.0, 1, -1.0).keeps, "attention");
  EXPECT_EQ(choose(-1.0, 1, -1.0).keeps, "none");
}

// A machine on which attention is most of the time, with planner.recompute_keeps as given.
std::string keeps_under(const std::string& planner, const std::string& keeps, Bytes limit,
                        bool known = true) {
  PlanContext context;
  ModelSpec model;
  model.num_hidden_layers = 4;
  context.profile = estimated_profile(model, "float32");
  context.profile.forward.seconds_per_token2 = 1e-7;
  if (known) {
    context.profile.around_attention.emplace();
    context.profile.around_attention->cost.seconds_per_token =
        0.5 * context.profile.forward.seconds_per_token;
    context.profile.around_attention->attention_bytes_per_token = 2048.0;
  }
  context.layers = 4;
  context.parallelism.stages = 2;
  context.bytes_per_stage = limit;
  context.config.name = planner;
  context.config.recompute_keeps = keeps;
  const auto maker = make_planner(context, std::make_shared<test::ClockEvaluator>(limit));
  const Plan plan = maker->plan({.sequences = {6000, 900, 800}});
  return plan.recomputes() ? to_string(plan.recompute_keeps) : "nothing";
}

// Between what full storage takes and what full recomputation does.
Bytes tight() {
  ModelSpec model;
  model.num_hidden_layers = 4;
  const CostModel cost(estimated_profile(model, "float32"), {.stages = 2}, {{0, 2}, {2, 4}});
  ChunkShape whole;
  whole.tokens = 6000;
  return cost.state_bytes(StageId(0)) + 0.7 * cost.activation_bytes(StageId(0), whole, 0);
}

TEST(RecomputeKeeps, EppChoosesAndOthersDoAsTheirPapersDo) {
  EXPECT_EQ(keeps_under("epp", "auto", 0.0), "nothing");
  EXPECT_EQ(keeps_under("epp", "auto", tight()), "attention");
  EXPECT_EQ(keeps_under("epp", "input", tight()), "input");
  EXPECT_EQ(keeps_under("epp", "auto", tight(), false), "input") << "an older profile";
  EXPECT_EQ(keeps_under("seq1f1b", "auto", tight()), "input");
  EXPECT_EQ(keeps_under("seq1f1b", "attention", tight()), "attention");
  EXPECT_THROW(keeps_under("seq1f1b", "attention", tight(), false), InputError);
}

}  // namespace
}  // namespace infinipipe
