// What layers keep, chosen anew for an order: never slower, always within memory, near the best.
#include "planner/recompute/keep_more.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "infinipipe/base/error.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/planner/factory.h"
#include "random_batches.h"
#include "support/keeping.h"

namespace infinipipe {
namespace {

std::shared_ptr<const Evaluator> evaluator_of(const PlanContext& context) {
  return std::make_shared<SimulatorEvaluator>(context.limit());
}

// A batch that recomputes whole layers under its limit; empty where it does not.
std::optional<Plan> recomputing(test::Case& c, std::uint64_t seed) {
  Random more(seed, 3);
  c.context.profile.remake[index_of(Keep::kAttention)] =
      test::random_around_attention(more, c.context.profile);
  c.context.config.recompute_keeps = "input";
  try {
    Plan plan = make_planner(c.context, evaluator_of(c.context))->plan(c.request);
    if (plan.recomputed().layers > 0) return plan;
  } catch (const RunError&) {
    // Too little memory.
  }
  return std::nullopt;
}

TEST(KeepMore, IsFasterFitsAndKeepsTheOrder) {
  int recomputed = 0;
  int faster = 0;
  int mixed = 0;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    test::Case c = test::random_case(seed, 40, 4, 20000);
    const auto plan = recomputing(c, seed);
    if (!plan) continue;
    ++recomputed;
    const BoundContext context(c.context, evaluator_of(c.context));
    const auto anew = keep_more(*plan, context);
    if (!anew) continue;
    ++faster;
    const Plan::Recomputed again = anew->recomputed();
    const auto attention = again.by_level[index_of(Keep::kAttention)];
    mixed += attention > 0 && attention < again.layers;
    const auto problem = validate(*anew);
    ASSERT_FALSE(problem) << problem->message;
    EXPECT_LT(anew->predicted->seconds, plan->predicted->seconds);
    EXPECT_GE(anew->predicted->seconds, anew->predicted->lower_bound * (1.0 - 1e-9));
    EXPECT_NO_THROW(
        require_fits(*anew, plan_cost(c.context.profile, *anew), c.context.bytes_per_stage));
    for (std::size_t r = 0; r < plan->replicas.size(); ++r) {
      EXPECT_EQ(anew->replicas[r].instructions, plan->replicas[r].instructions);
    }
    const auto twice = keep_more(*plan, context);
    ASSERT_TRUE(twice);
    EXPECT_EQ(twice->replicas, anew->replicas) << "deterministic";
  }
  EXPECT_GT(recomputed, 30);
  EXPECT_GT(faster, 15);
  EXPECT_GT(mixed, 5);
}

// All ways in which (stage, chunk) number `i` and those after it can store their layers.
void try_all(Plan& plan, const BoundContext& context, std::size_t i, Seconds& best) {
  auto& chunks = plan.replicas[0].pipelines[0].chunks;
  const std::size_t stages = plan.stages.size();
  if (i == chunks.size() * stages) {
    const Evaluation evaluation = context.evaluator().evaluate(plan, context.cost(), ReplicaId{});
    if (!evaluation.over_stage) best = std::min(best, evaluation.seconds);
    return;
  }
  Keeping& keeping = chunks[i / stages].keeping[i % stages];
  const int layers = plan.stages[i % stages].count();
  const auto levels = [&](const auto& self, std::size_t level, int left) -> void {
    if (level == kRemadeLevels) {
      try_all(plan, context, i + 1, best);
      return;
    }
    const bool known = context.cost().profile().knows(kKeepLevels[level].keep);
    for (int count = 0; count <= (known ? left : 0); ++count) {
      keeping.layers[level] = count;
      self(self, level + 1, left - count);
    }
    keeping.layers[level] = 0;
  };
  levels(levels, 0, layers);
}

TEST(KeepMore, IsNearTheBestOfAll) {
  int compared = 0;
  double sum = 0.0;
  for (std::uint64_t seed = 0; seed < 2000 && compared < 40; ++seed) {
    test::Case c = test::random_case(seed, 4, 2, 4000);
    c.context.parallelism.data_parallel = 1;
    c.context.layers = std::min(c.context.layers, 2 * c.context.parallelism.stages);
    const auto plan = recomputing(c, seed);
    if (!plan || plan->replicas[0].pipelines.size() != 1) continue;
    if (plan->replicas[0].pipelines[0].chunks.size() * plan->stages.size() > 4) continue;
    const BoundContext context(c.context, evaluator_of(c.context));
    const auto anew = keep_more(*plan, context);
    const Seconds seconds = (anew ? *anew : *plan).predicted->seconds;
    Plan every = *plan;
    Seconds best = plan->predicted->seconds;
    try_all(every, context, 0, best);
    ++compared;
    sum += seconds / best;
    EXPECT_GE(seconds, best * (1.0 - 1e-12)) << "seed " << seed;
    EXPECT_LE(seconds, best * 1.25) << "seed " << seed;
  }
  EXPECT_GE(compared, 20);
  EXPECT_LE(sum / compared, 1.02) << "over all";
  std::printf("%d small plans: on average %.2f%% above the best\n", compared,
              100.0 * (sum / compared - 1.0));
}

// A machine on which attention is most of the time.
PlanContext long_contexts(Bytes limit) {
  PlanContext context;
  ModelSpec model;
  model.num_hidden_layers = 4;
  context.profile = estimated_profile(model, Dtype::kFloat32);
  context.profile.forward.seconds_per_token2 = 1e-7;
  RemakeCost& around = context.profile.remake[index_of(Keep::kAttention)].emplace();
  around.cost.seconds_per_token = 0.5 * context.profile.forward.seconds_per_token;
  around.kept_bytes_per_token = 2048.0;
  context.layers = 4;
  context.parallelism.stages = 2;
  context.bytes_per_stage = limit;
  return context;
}

// Between what full storage takes and what full recomputation does.
Bytes tight() {
  const CostModel cost(long_contexts(0.0).profile, {.stages = 2}, {{0, 2}, {2, 4}});
  ChunkShape whole;
  whole.tokens = 6000;
  return cost.state_bytes(StageId(0)) + 0.7 * cost.activation_bytes(StageId(0), whole, {});
}

std::string kept_with(PlanContext context, const std::string& planner, const std::string& keeps) {
  context.config.name = planner;
  context.config.recompute_keeps = keeps;
  const Plan plan = make_planner(context, evaluator_of(context))->plan({.sequences = {6000, 900}});
  const Plan::Recomputed again = plan.recomputed();
  const auto attention = again.by_level[index_of(Keep::kAttention)];
  return again.layers == 0           ? "nothing"
         : attention == 0            ? "input"
         : attention == again.layers ? "attention"
                                     : "both";
}

TEST(MakePlanner, EppMixesWaysOfRecomputingAndOthersDoAsTheirPapersDo) {
  EXPECT_EQ(kept_with(long_contexts(0.0), "epp", "auto"), "nothing");
  const PlanContext context = long_contexts(tight());
  const std::string mixes = kept_with(context, "epp", "auto");
  EXPECT_TRUE(mixes == "attention" || mixes == "both") << mixes;
  EXPECT_EQ(kept_with(context, "epp", "input"), "input");
  EXPECT_EQ(kept_with(context, "epp", "attention"), "attention");
  EXPECT_EQ(kept_with(context, "epp-1f1b", "auto"), "input");
  EXPECT_EQ(kept_with(context, "seq1f1b", "auto"), "input");
  EXPECT_EQ(kept_with(context, "seq1f1b", "attention"), "attention");
  PlanContext old = context;
  old.profile.remake[index_of(Keep::kAttention)].reset();
  EXPECT_EQ(kept_with(old, "epp", "auto"), "input");
  EXPECT_THROW(kept_with(old, "seq1f1b", "attention"), InputError);
  EXPECT_THROW(kept_with(context, "epp", "atention"), InputError);
}

}  // namespace
}  // namespace infinipipe
