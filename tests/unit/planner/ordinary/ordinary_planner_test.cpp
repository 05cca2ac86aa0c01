// The pipeline baselines choose the best of what their users would try.
#include "planner/ordinary/ordinary_planner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "planner/chunking/ordinary_cutting.h"
#include "planner/schedules/held_weights.h"
#include "unit/planner/clock_evaluator.h"

namespace infinipipe {
namespace {

using test::batch;
using test::ClockEvaluator;
using test::machine;
using test::plan_with;
using test::tight_limit;

const std::map<std::string, OrdinaryRecipes>& recipes_of() {
  static const std::map<std::string, OrdinaryRecipes> kRecipes = {
      {"1f1b", packed_1f1b_recipes},
      {"gpipe", gpipe_recipes},
      {"seq1f1b", seq1f1b_recipes},
      {"seq1f1b-fixed", seq1f1b_fixed_recipes},
      {"mepipe", mepipe_recipes}};
  return kRecipes;
}

// Every recipe with every number of recomputed layers.
Seconds best_of_all(const PlanContext& context, const std::string& name,
                    const std::vector<Tokens>& lengths) {
  const auto evaluator = std::make_shared<ClockEvaluator>(context.bytes_per_stage);
  const BoundContext bound(context, evaluator);
  Seconds best = -1.0;
  for (const OrdinaryRecipe& recipe : recipes_of().at(name)(lengths, bound, false)) {
    for (int layers = 0; layers <= context.layers; ++layers) {
      if (recipe.all_or_nothing && layers != 0 && layers != context.layers) continue;
      Plan plan = bound.start({.sequences = lengths});
      plan.replicas = {ordinary_replica(recipe, lengths, layers, bound.cost(), false)};
      const Evaluation evaluation = evaluator->evaluate(plan, bound.cost(), ReplicaId{});
      if (evaluation.over_stage) continue;
      if (best < 0.0 || evaluation.seconds < best) best = evaluation.seconds;
    }
  }
  return best;
}

TEST(OrdinaryPlanner, EqualsBruteForceOverItsSettings) {
  Random random(31);
  int fitted = 0;
  int recomputed = 0;
  int elsewhere = 0;
  for (int round = 0; round < 120; ++round) {
    PlanContext context = machine(random);
    const std::vector<Tokens> lengths = batch(random);
    context.bytes_per_stage = tight_limit(random, context, lengths);
    for (const auto& [name, recipes] : recipes_of()) {
      SCOPED_TRACE(name + ", round " + std::to_string(round));
      const auto plan = plan_with(context, name, lengths);
      const Seconds best = best_of_all(context, name, lengths);
      ASSERT_EQ(plan.has_value(), best >= 0.0);
      if (!plan) continue;
      ++fitted;
      // Held weight gradients move with recomputation: there, less of it may in rare cases be
      // slower.
      if (name == "mepipe") {
        EXPECT_GE(plan->predicted->seconds, best * (1.0 - 1e-12));
        elsewhere += plan->predicted->seconds > best * (1.0 + 1e-12) ? 1 : 0;
        EXPECT_LE(plan->predicted->seconds, best * 1.02);
      } else {
        EXPECT_DOUBLE_EQ(plan->predicted->seconds, best);
      }
      recomputed += plan->replicas[0].pipelines[0].chunks[0].keeping[0].remade() > 0 ? 1 : 0;
    }
  }
  EXPECT_GT(fitted, 150);
  EXPECT_GT(recomputed, 30);
  EXPECT_LT(elsewhere, 6);
}

TEST(OrdinaryPlanner, PlansAreProvenRepeatableAndTellTheirSettings) {
  Random random(32);
  int plans = 0;
  for (int round = 0; round < 100; ++round) {
    PlanContext context = machine(random);
    const std::vector<Tokens> lengths = batch(random);
    context.bytes_per_stage = tight_limit(random, context, lengths);
    context.parallelism.data_parallel = random.uniform() < 0.2 ? 2 : 1;
    for (const auto& [name, recipes] : recipes_of()) {
      SCOPED_TRACE(name + ", round " + std::to_string(round));
      const auto plan = plan_with(context, name, lengths);
      if (!plan) continue;
      ++plans;
      const auto fault = validate(*plan);
      ASSERT_FALSE(fault) << fault->message;
      EXPECT_EQ(plan_hash(*plan), plan_hash(*plan_with(context, name, lengths)));
      const std::vector<Candidate>& candidates = plan->planner.candidates;
      ASSERT_FALSE(candidates.empty());
      EXPECT_TRUE(candidates.front().note.starts_with("fastest; ")) << candidates.front().note;
      EXPECT_TRUE(std::is_sorted(
          candidates.begin(), candidates.end(),
          [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; }));
      // One recomputation setting for all chunks.
      for (const Replica& replica : plan->replicas) {
        for (const Pipeline& pipeline : replica.pipelines) {
          for (const Chunk& chunk : pipeline.chunks) {
            EXPECT_EQ(chunk.keeping, replica.pipelines[0].chunks[0].keeping);
          }
        }
      }
    }
  }
  EXPECT_GT(plans, 150);
}

TEST(OrdinaryPlanner, FixedSlicesRecomputeAllOrNothing) {
  Random random(33);
  const PlanContext roomy = machine(random);
  const std::vector<Tokens> lengths = {40, 7, 9, 3};
  const auto free = plan_with(roomy, "seq1f1b-fixed", lengths);
  ASSERT_TRUE(free);
  EXPECT_EQ(free->planner.slices, 4);
  EXPECT_EQ(free->planner.candidates.front().chunk_tokens, 10);
  EXPECT_EQ(free->planner.candidates.front().note, "fastest; nothing recomputed");

  bool full = false;
  for (Bytes limit = 20.0; limit < 4000.0; limit *= 1.1) {
    PlanContext tight = roomy;
    tight.bytes_per_stage = limit;
    const auto plan = plan_with(tight, "seq1f1b-fixed", lengths);
    if (!plan) continue;
    for (const Chunk& chunk : plan->replicas[0].pipelines[0].chunks) {
      for (std::size_t p = 0; p < plan->stages.size(); ++p) {
        const int layers = chunk.keeping[p].remade();
        EXPECT_TRUE(layers == 0 || layers == plan->stages[p].count());
        full = full || layers > 0;
      }
    }
  }
  EXPECT_TRUE(full);

  PlanContext given = roomy;
  given.config.chunk_tokens = 8;
  EXPECT_EQ(plan_with(given, "seq1f1b-fixed", lengths)->planner.slices, 5);
}

TEST(OrdinaryPlanner, GpipeFlushesWhereOneDoesNotFit) {
  PlanContext context;
  context.layers = 2;
  context.parallelism.stages = 2;
  context.profile.forward.seconds_per_token = 1.0;
  context.profile.backward.seconds_per_token = 2.0;
  context.profile.memory.activation_bytes_per_token = 20.0;
  context.profile.memory.input_bytes_per_token = 10.0;  // recomputation saves nothing
  context.profile.links.p2p_bytes_per_second = 1.0;
  const std::vector<Tokens> lengths(8, 10);
  context.bytes_per_stage = 8 * 10 * 10.0 + 1.0;
  EXPECT_EQ(plan_with(context, "gpipe", lengths)->replicas[0].pipelines.size(), 1u);
  context.bytes_per_stage = 4 * 10 * 10.0 + 1.0;
  const auto halves = plan_with(context, "gpipe", lengths);
  ASSERT_TRUE(halves);
  EXPECT_EQ(halves->replicas[0].pipelines.size(), 2u);
  EXPECT_EQ(halves->planner.candidates.front().pipelines, 2);
  context.bytes_per_stage = 10 * 10.0 - 1.0;
  EXPECT_FALSE(plan_with(context, "gpipe", lengths));
}

TEST(OrdinaryPlanner, MepipeSplitsEveryBackwardAndIsNoSlowerThanSeq1F1B) {
  Random random(34);
  for (int round = 0; round < 60; ++round) {
    PlanContext context = machine(random);
    const std::vector<Tokens> lengths = batch(random);
    context.bytes_per_stage = tight_limit(random, context, lengths);
    const auto sliced = plan_with(context, "seq1f1b", lengths);
    const auto split = plan_with(context, "mepipe", lengths);
    ASSERT_EQ(sliced.has_value(), split.has_value());
    if (!split) continue;
    // Holding nothing back is among its settings, and lets gradients go on earlier.
    EXPECT_LE(split->predicted->seconds, sliced->predicted->seconds * (1.0 + 1e-12));
    for (const auto& list : split->replicas[0].instructions) {
      for (const Instruction& i : list) EXPECT_NE(i.op, Op::kBackward);
    }
  }
}

TEST(UniformSlices, ByHand) {
  const Chunking chunking = uniform_slices({25, 4, 6, 10, 3}, 10, {.per_token = 1.0});
  ASSERT_EQ(chunking.chunks.size(), 5u);
  // 25 = 10 + 10 + 5; 4 goes with the tail, 6 and 3 share a chunk, 10 fills one.
  EXPECT_EQ(chunking.chunks[2].kind, ChunkKind::kHybrid);
  EXPECT_EQ(chunking.chunks[2].slices,
            (std::vector<Slice>{{SequenceId(0), 20, 25}, {SequenceId(1), 0, 4}}));
  EXPECT_EQ(chunking.chunks[3].slices,
            (std::vector<Slice>{{SequenceId(2), 0, 6}, {SequenceId(4), 0, 3}}));
  EXPECT_EQ(chunking.chunks[4].slices, (std::vector<Slice>{{SequenceId(3), 0, 10}}));
}

}  // namespace
}  // namespace infinipipe
