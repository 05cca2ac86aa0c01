#include "profile/samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/keeping.h"
#include "unit/core/test_plans.h"

namespace infinipipe {
namespace {

using testing::BackwardStyle;
using testing::make_plan;
using testing::PlanShape;

// Events and memory as the engine writes them: of a stage's n-th instruction n + 1 s, a quarter of
// it recomputation where there is any, and 100 n bytes of workspace during it.
Trace engine_trace(const Plan& plan) {
  Trace trace;
  for (std::size_t p = 0; p < plan.stages.size(); ++p) {
    Seconds at = 0.0;
    double n = 0.0;
    for (const Instruction& i : plan.replicas[0].instructions[p]) {
      TraceEvent event{ReplicaId(0), StageId(p), i, at, at, at + n + 1.0, 0.0};
      const bool gradient = i.op == Op::kBackward || i.op == Op::kInputGrad;
      if (gradient && plan.replicas[0].chunk(i).keeping[p].remade() > 0)
        event.recompute = (n + 1.0) / 4;
      MemorySample during{ReplicaId(0), StageId(p), at, {}};
      during.bytes[static_cast<std::size_t>(MemoryPurpose::kWorkspace)] = 100.0 * n;
      during.bytes[static_cast<std::size_t>(MemoryPurpose::kActivations)] = 7.0;
      during.bytes[static_cast<std::size_t>(MemoryPurpose::kTransfers)] = 3.0 * n;
      MemorySample after{ReplicaId(0), StageId(p), event.end, {}};
      trace.events.push_back(event);
      trace.memory.push_back(during);
      trace.memory.push_back(after);
      at = event.end;
      n += 1.0;
    }
  }
  return trace;
}

TEST(Samples, OneForEachInstruction) {
  PlanShape shape;
  shape.style = BackwardStyle::kSplit;
  const Plan plan = make_plan(shape);
  const auto samples = samples_of(plan, engine_trace(plan), 100);
  const auto& list = plan.replicas[0].instructions;
  ASSERT_EQ(samples.size(), list[0].size() + list[1].size());
  const std::vector<bool> cut = plan.cut_sequences();
  int recomputed = 0, later = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const InstructionSample& sample = samples[i];
    const std::size_t p = i < list[0].size() ? 0 : 1;
    const std::size_t n = p == 0 ? i : i - list[0].size();
    const Instruction& instruction = list[p][n];
    const Chunk& chunk = plan.replicas[0].chunk(instruction);
    EXPECT_EQ(sample.stage, StageId(p));
    EXPECT_EQ(sample.op, instruction.op);
    // Five chunks in the first pipeline.
    EXPECT_EQ(sample.chunk, 100 + 5 * instruction.pipeline.value() + instruction.chunk.value());
    const ChunkShape expected = chunk_shape(chunk, plan.sequences, cut);
    EXPECT_EQ(sample.shape.token2, expected.token2);
    EXPECT_EQ(sample.shape.tokens, expected.tokens);
    EXPECT_EQ(sample.shape.cut_sequence_tokens, expected.cut_sequence_tokens);
    EXPECT_EQ(sample.context, chunk.context());
    EXPECT_EQ(sample.keeping, chunk.keeping[p]);
    EXPECT_DOUBLE_EQ(sample.seconds + sample.recompute_seconds, static_cast<double>(n) + 1.0);
    EXPECT_DOUBLE_EQ(sample.temporary, 100.0 * static_cast<double>(n));
    EXPECT_DOUBLE_EQ(sample.waited, 3.0 * static_cast<double>(n));
    recomputed += sample.recompute_seconds > 0.0;
    later += sample.context > 0;
    if (chunk.kind == ChunkKind::kSplit) {
      EXPECT_EQ(sample.kind, "split");
    } else if (chunk.kind == ChunkKind::kHybrid) {
      EXPECT_EQ(sample.kind, "hybrid");
    } else {
      EXPECT_EQ(sample.kind, "batched");
    }
  }
  EXPECT_GT(recomputed, 0);
  EXPECT_GT(later, 0);
}

InstructionSample sample(int chunk, Op op, double seconds, int stage = 0) {
  InstructionSample one;
  one.chunk = chunk;
  one.stage = StageId(stage);
  one.op = op;
  one.shape.tokens = 10 * chunk + 1;
  one.seconds = seconds;
  one.recompute_seconds = 2.0 * seconds;
  one.temporary = 3.0 * seconds;
  return one;
}

// Rounds of 80 and up to 20 more, 90 and up to 12 more, 70 and up to 40 more: at least 90, at most
// 100.
TEST(Medians, BytesAreTheMostAndTheDoubtTheLeast) {
  std::vector<std::vector<InstructionSample>> rounds;
  for (const auto& [temporary, waited] :
       std::vector<std::pair<double, double>>{{80.0, 20.0}, {90.0, 12.0}, {70.0, 40.0}}) {
    InstructionSample one = sample(0, Op::kForward, 1.0);
    one.temporary = temporary;
    one.waited = waited;
    rounds.push_back({one});
  }
  const auto result = medians(rounds);
  ASSERT_EQ(result.size(), 1u);
  EXPECT_DOUBLE_EQ(result[0].temporary, 90.0);
  EXPECT_DOUBLE_EQ(result[0].waited, 10.0);
}

// Every second round recomputes around attention: that has its own time and bytes, the rest of the
// instruction is the same work in all rounds.
TEST(Medians, WaysOfRecomputingShareTheRestsTime) {
  const auto round = [](double seconds, int attention_kept) {
    InstructionSample one = sample(0, Op::kBackward, seconds);
    one.keeping = testing::again(2, attention_kept);
    return std::vector<InstructionSample>{one};
  };
  const auto result = medians({round(1.0, 0), round(2.0, 2), round(6.0, 0), round(4.0, 2)});
  ASSERT_EQ(result.size(), 2u);
  EXPECT_EQ(result[0].keeping, testing::inputs(2));
  EXPECT_EQ(result[1].keeping, testing::again(2, 2));
  for (const InstructionSample& one : result) EXPECT_DOUBLE_EQ(one.seconds, 3.0);
  EXPECT_DOUBLE_EQ(result[0].recompute_seconds, 7.0);
  EXPECT_DOUBLE_EQ(result[1].recompute_seconds, 6.0);
  EXPECT_DOUBLE_EQ(result[0].temporary, 18.0);
  EXPECT_DOUBLE_EQ(result[1].temporary, 12.0);
}

TEST(Medians, OverRoundsByChunkStageAndOp) {
  const std::vector<std::vector<InstructionSample>> rounds = {
      {sample(1, Op::kForward, 1.0), sample(0, Op::kForward, 5.0), sample(0, Op::kBackward, 7.0),
       sample(0, Op::kForward, 50.0, 1)},
      {sample(0, Op::kForward, 9.0), sample(1, Op::kForward, 100.0), sample(0, Op::kBackward, 8.0),
       sample(0, Op::kForward, 40.0, 1)},
      {sample(1, Op::kForward, 2.0), sample(0, Op::kForward, 6.0)}};
  const auto result = medians(rounds);
  ASSERT_EQ(result.size(), 4u);
  EXPECT_EQ(result[0].chunk, 1);
  EXPECT_EQ(result[0].shape.tokens, 11);
  EXPECT_DOUBLE_EQ(result[0].seconds, 2.0);
  EXPECT_DOUBLE_EQ(result[0].recompute_seconds, 4.0);
  EXPECT_DOUBLE_EQ(result[0].temporary, 300.0) << "the most";
  EXPECT_DOUBLE_EQ(result[1].seconds, 6.0);
  EXPECT_EQ(result[2].op, Op::kBackward);
  EXPECT_DOUBLE_EQ(result[2].seconds, 7.5) << "of two: their middle";
  EXPECT_EQ(result[3].stage, StageId(1));
  EXPECT_DOUBLE_EQ(result[3].seconds, 45.0);
  EXPECT_TRUE(medians({}).empty());
}

}  // namespace
}  // namespace infinipipe
