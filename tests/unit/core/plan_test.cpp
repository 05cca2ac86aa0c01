#include "infinipipe/core/plan.h"

#include <gtest/gtest.h>

#include "infinipipe/core/trace.h"
#include "unit/core/test_plans.h"

namespace infinipipe {
namespace {

using testing::make_plan;

TEST(Plan, ChunkCountsItsTokensAndContext) {
  const Plan plan = make_plan();
  const Pipeline& pipeline = plan.replicas[0].pipelines[0];
  EXPECT_EQ(pipeline.chunks[1].tokens(), 100);
  EXPECT_EQ(pipeline.chunks[1].context(), 100);
  EXPECT_EQ(pipeline.chunks[2].tokens(), 110);
  EXPECT_EQ(pipeline.chunks[2].context(), 200);
  EXPECT_EQ(pipeline.chunks[3].context(), 0);
  EXPECT_EQ(Chunk{}.tokens(), 0);
}

TEST(Plan, KnowsItsCutSequencesAndTotals) {
  Plan plan = make_plan();
  EXPECT_EQ(plan.total_tokens(), 2 * (300 + 10 + 11 + 12));
  EXPECT_EQ(plan.cut_sequences(),
            (std::vector<bool>{true, false, false, false, true, false, false, false}));
  EXPECT_EQ(plan.layer_count(), 4);
  EXPECT_EQ(plan.stage_count(), 2);
  plan.replicas[0].pipelines[0].chunks[0].slices[0].sequence = SequenceId(-7);
  EXPECT_EQ(plan.cut_sequences().size(), 8U);  // a broken plan does no harm
}

TEST(Plan, SpellsInstructions) {
  EXPECT_EQ(to_string(Instruction{Op::kForward, PipelineId(0), ChunkId(3)}), "F0.3");
  EXPECT_EQ(to_string(Instruction{Op::kBackward, PipelineId(12), ChunkId(0)}), "B12.0");
  EXPECT_EQ(op_letter(Op::kInputGrad), 'I');
  EXPECT_EQ(op_letter(Op::kWeightGrad), 'W');
}

TEST(Trace, BubbleIsTheIdleShare) {
  Trace trace;
  EXPECT_EQ(trace.bubble(), 0.0);
  trace.seconds = 10.0;
  EXPECT_EQ(trace.bubble(), 0.0);
  const auto run = [&](int replica, int stage, Seconds begin, Seconds end) {
    trace.events.push_back(
        {ReplicaId(replica), StageId(stage), Instruction{}, begin, begin, end, 0.0});
  };
  run(0, 0, 0.0, 4.0);
  run(0, 0, 5.0, 9.0);
  run(0, 1, 2.0, 10.0);
  EXPECT_DOUBLE_EQ(trace.bubble(), 1.0 - 16.0 / 20.0);
  run(1, 1, 0.0, 9.5);  // a faster replica does not count
  EXPECT_DOUBLE_EQ(trace.bubble(), 1.0 - 16.0 / 20.0);
  run(1, 0, 0.0, 10.5);  // nor, now, does the slower one
  trace.seconds = 10.5;
  EXPECT_DOUBLE_EQ(trace.bubble(), 1.0 - 20.0 / 21.0);
}

TEST(Trace, NamesEveryPurpose) {
  for (std::size_t i = 0; i < kMemoryPurposes; ++i) {
    EXPECT_STRNE(to_string(static_cast<MemoryPurpose>(i)), "unknown");
  }
}

}  // namespace
}  // namespace infinipipe
