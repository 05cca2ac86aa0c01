// Each pass of the elastic planner can be switched off, and then is not there.
#include <gtest/gtest.h>

#include <algorithm>

#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "planner/chunking/ordinary_cutting.h"
#include "planner/recompute/uniform_recompute.h"
#include "unit/planner/clock_evaluator.h"

namespace infinipipe {
namespace {

template <typename Check>
void for_plans(const PassSet& passes, std::uint64_t seed, Check check) {
  Random random(seed);
  int plans = 0;
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    PlanContext context = test::machine(random);
    const std::vector<Tokens> lengths = test::batch(random);
    context.bytes_per_stage = test::tight_limit(random, context, lengths);
    context.config.passes = passes;
    for (const char* name : {"epp", "epp-1f1b"}) {
      const auto plan = test::plan_with(context, name, lengths);
      if (!plan) continue;
      ++plans;
      const auto fault = validate(*plan);
      ASSERT_FALSE(fault) << fault->message;
      check(*plan);
    }
  }
  EXPECT_GT(plans, 30);
}

const std::vector<Pipeline>& pipelines(const Plan& plan) { return plan.replicas[0].pipelines; }

TEST(Passes, AllOnIsTheDefault) { EXPECT_EQ(PassSet(), PlanContext().config.passes); }

TEST(Passes, WithoutElasticChunkingSlicesAreEqual) {
  for_plans(PassSet::without({Pass::kElasticCutting}), 1, [](const Plan& plan) {
    const std::vector<bool> cut = plan.cut_sequences();
    Tokens size = 0;
    for (const Pipeline& pipeline : pipelines(plan)) {
      for (const Chunk& chunk : pipeline.chunks) {
        const Slice& slice = chunk.slices.front();
        if (!cut[slice.sequence.index()]) continue;
        if (slice.end == plan.sequences[slice.sequence.index()]) continue;
        if (size == 0) size = slice.tokens();
        EXPECT_EQ(slice.tokens(), size);
      }
    }
  });
}

TEST(Passes, WithoutPackingEveryChunkHasOneSlice) {
  for_plans(PassSet::without({Pass::kPacking}), 2, [](const Plan& plan) {
    for (const Pipeline& pipeline : pipelines(plan)) {
      for (const Chunk& chunk : pipeline.chunks) EXPECT_EQ(chunk.slices.size(), 1u);
    }
  });
}

TEST(Passes, WithoutAdaptiveRecomputeThereIsOneSetting) {
  bool some = false;
  for_plans(PassSet::without({Pass::kAdaptiveRecompute}), 3, [&](const Plan& plan) {
    const std::vector<Keeping>& first = pipelines(plan)[0].chunks[0].keeping;
    int most = 0;
    for (const Keeping& keeping : first) most = std::max(most, keeping.remade());
    some = some || most > 0;
    for (const Pipeline& pipeline : pipelines(plan)) {
      for (const Chunk& chunk : pipeline.chunks) {
        for (std::size_t p = 0; p < plan.stages.size(); ++p) {
          EXPECT_EQ(chunk.keeping[p].remade(), std::min(most, plan.stages[p].count()));
        }
      }
    }
  });
  EXPECT_TRUE(some);
}

TEST(Passes, WithoutGroupingAndListsThereIsOnePipeline) {
  for_plans(PassSet::without({Pass::kGrouping, Pass::kListSchedules, Pass::kOrdinaryOrders}), 4,
            [](const Plan& plan) {
              EXPECT_EQ(pipelines(plan).size(), 1u);
              EXPECT_NE(plan.planner.schedule, "list");
            });
}

TEST(Passes, WithoutListsThePlanIsThePapers) {
  Random random(5);
  for (int round = 0; round < 20; ++round) {
    PlanContext context = test::machine(random);
    const std::vector<Tokens> lengths = test::batch(random);
    context.bytes_per_stage = test::tight_limit(random, context, lengths);
    context.config.passes = PassSet::without({Pass::kListSchedules, Pass::kOrdinaryOrders});
    const auto ours = test::plan_with(context, "epp", lengths);
    const auto paper = test::plan_with(context, "epp-1f1b", lengths);
    ASSERT_EQ(ours.has_value(), paper.has_value());
    if (!ours) continue;
    EXPECT_EQ(ours->replicas, paper->replicas);
  }
}

TEST(Passes, WithoutSplitBackwardsThereAreNone) {
  for_plans(PassSet::without({Pass::kSplitBackward}), 6, [](const Plan& plan) {
    for (const auto& list : plan.replicas[0].instructions) {
      for (const Instruction& i : list) EXPECT_NE(i.op, Op::kWeightGrad);
    }
  });
}

TEST(Passes, WithoutLayerSplitStagesAreEven) {
  for_plans(PassSet::without({Pass::kLayerSplit}), 7, [](const Plan& plan) {
    for (const LayerRange& range : plan.stages) {
      EXPECT_LE(std::abs(range.count() * plan.stage_count() - plan.layer_count()),
                plan.stage_count() - 1);
    }
  });
}

TEST(CutSequences, WithoutPackingByHand) {
  const ChunkSeconds cost{.per_token = 1.0};
  const Chunking chunking =
      cut_sequences({2, 30, 5, 25}, cost, {.slices = 2}, PassSet::without({Pass::kPacking}));
  std::vector<std::vector<Slice>> slices;
  for (const Chunk& chunk : chunking.chunks) slices.push_back(chunk.slices);
  EXPECT_EQ(slices, (std::vector<std::vector<Slice>>{{{SequenceId(1), 0, 15}},
                                                     {{SequenceId(1), 15, 30}},
                                                     {{SequenceId(3), 0, 15}},
                                                     {{SequenceId(3), 15, 25}},
                                                     {{SequenceId(2), 0, 5}},
                                                     {{SequenceId(0), 0, 2}}}));
  ASSERT_EQ(chunking.groups.size(), 4u);
  EXPECT_EQ(chunking.groups[1].begin, 2);
  EXPECT_EQ(chunking.groups[1].end, 4);
  EXPECT_EQ(chunking.seconds, (std::vector<Seconds>{15, 15, 15, 10, 5, 2}));
}

TEST(CutSequences, EqualSlicesRespectTheCapacity) {
  const ChunkSeconds cost{.per_token2 = 1.0, .per_token = 1.0};
  const Chunking chunking = cut_sequences({100, 30}, cost, {.slices = 3, .capacity = 25},
                                          PassSet::without({Pass::kElasticCutting}));
  ASSERT_EQ(chunking.chunks.size(), 6u);
  for (std::size_t k = 0; k < 4; ++k) EXPECT_EQ(chunking.chunks[k].tokens(), 25);
}

}  // namespace
}  // namespace infinipipe
