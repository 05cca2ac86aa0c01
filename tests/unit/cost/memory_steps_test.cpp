#include "cost/memory_steps.h"

#include <gtest/gtest.h>

#include "support/keeping.h"

namespace infinipipe {
namespace {

ChunkBytes chunk() {
  return {.kept = {100.0, 7.0},
          .forward_work = 20.0,
          .backward_work = 30.0,
          .grads_opened = 12.0,
          .grads_freed = 4.0};
}

TEST(MemoryStep, AForwardKeepsWhatItsBackwardNeeds) {
  const MemoryStep step = memory_step(Op::kForward, chunk());
  EXPECT_EQ(step.opens.activations, 100.0);
  EXPECT_EQ(step.opens.kv, 7.0);
  EXPECT_EQ(step.holds, 20.0);
  EXPECT_EQ(step.change(), 107.0);
}

TEST(MemoryStep, ABackwardOpensGradientsAndFreesItsChunk) {
  const MemoryStep step = memory_step(Op::kBackward, chunk());
  EXPECT_EQ(step.opens_grads, 12.0);
  EXPECT_EQ(step.holds, 30.0);
  EXPECT_EQ(step.closes_grads, 4.0);
  EXPECT_EQ(step.closes.total(), 107.0);
  EXPECT_EQ(step.change(), 12.0 - 4.0 - 107.0);
}

TEST(MemoryStep, AnInputGradientLeavesTheChunkForItsWeightGradient) {
  const MemoryStep input = memory_step(Op::kInputGrad, chunk());
  EXPECT_EQ(input.opens_grads, 12.0);
  EXPECT_EQ(input.holds, 30.0);
  EXPECT_EQ(input.closes.total(), 0.0);
  const MemoryStep weight = memory_step(Op::kWeightGrad, chunk());
  EXPECT_EQ(weight.opens_grads + weight.holds + weight.closes_grads, 0.0);
  EXPECT_EQ(weight.closes.total(), 107.0);
  EXPECT_EQ(input.change() + weight.change(), memory_step(Op::kBackward, chunk()).change());
}

TEST(MemoryStep, LayerByLayerABackwardsAccumulatorsStayFromItsEnd) {
  ChunkBytes bytes = chunk();
  bytes.layerwise = true;
  bytes.pending = 9.0;
  const MemoryStep backward = memory_step(Op::kBackward, bytes);
  EXPECT_EQ(backward.opens_grads, 0.0);
  EXPECT_EQ(backward.leaves_grads, 12.0);
  EXPECT_EQ(backward.leaves.total(), 0.0);
  EXPECT_EQ(backward.change(), 12.0 - 4.0 - 107.0);
  const MemoryStep input = memory_step(Op::kInputGrad, bytes);
  EXPECT_EQ(input.leaves.activations, 9.0);
  EXPECT_EQ(input.closes.total(), 107.0);
  EXPECT_EQ(memory_step(Op::kWeightGrad, bytes).closes.total(), 9.0);
}

TEST(MemoryStep, AnEvaluationKeepsOnlyTheContext) {
  ChunkBytes bytes = chunk();
  bytes.context = 40.0;
  MemoryStep step = memory_step(Op::kForward, bytes, true);
  EXPECT_EQ(step.opens.total(), 107.0);
  EXPECT_EQ(step.change(), 40.0);
  bytes.context_freed = 160.0;  // the sequence ends here
  step = memory_step(Op::kForward, bytes, true);
  EXPECT_EQ(step.change(), 40.0 - 160.0);
}

TEST(HeldBytes, SumsWhatStaysAndReturnsWhatIsHeldMeanwhile) {
  HeldBytes held;
  const ChunkBytes bytes = chunk();
  EXPECT_EQ(held.begin(memory_step(Op::kForward, bytes)), 127.0);
  held.end(memory_step(Op::kForward, bytes));
  EXPECT_EQ(held.begin(memory_step(Op::kForward, bytes)), 2 * 107.0 + 20.0);
  held.end(memory_step(Op::kForward, bytes));
  held.lower(14.0);
  EXPECT_EQ(held.begin(memory_step(Op::kBackward, bytes)), 200.0 + 12.0 + 30.0);
  held.end(memory_step(Op::kBackward, bytes));
  EXPECT_EQ(held.begin(MemoryStep{}), 200.0 + 12.0 - 4.0 - 107.0);
}

// One stage of four layers, so that a layer's share is easy to see.
CostModel small_model(bool layerwise) {
  Profile profile;
  profile.memory.activation_bytes_per_token = 40.0;
  profile.memory.input_bytes_per_token = 2.0;
  profile.memory.kv_bytes_per_token = 3.0;
  profile.memory.kv_grad_bytes_per_token = 5.0;
  if (layerwise) {
    profile.memory.layerwise = LayerwiseMemory{.forward_bytes_per_token = 1.0,
                                               .backward_bytes_per_token = 1.5,
                                               .pending_bytes_per_token = 6.0};
  }
  return CostModel(profile, {}, {{0, 4}});
}

TEST(MemoryStep, TakesItsBytesFromTheProfile) {
  const CostModel cost = small_model(false);
  const StageId stage(0);
  const ChunkShape shape{.tokens = 10, .slices = 1, .cut_tokens = 10, .cut_sequence_tokens = 30};
  const MemoryStep forward =
      memory_step(cost, Op::kForward, stage, shape, testing::inputs(2), false);
  EXPECT_EQ(forward.opens.activations, 10.0 * (2 * 10.0 + 2 * 2.0));
  EXPECT_EQ(forward.opens.kv, 10.0 * 2 * 3.0);
  EXPECT_EQ(forward.holds, 0.0);
  const MemoryStep backward =
      memory_step(cost, Op::kBackward, stage, shape, testing::inputs(2), false);
  EXPECT_EQ(backward.holds, 100.0);  // one layer runs again
  EXPECT_EQ(memory_step(cost, Op::kBackward, stage, shape, {}, false).holds, 0.0);
  EXPECT_EQ(backward.opens_grads, 30.0 * 4 * 5.0);
  EXPECT_EQ(backward.closes_grads, 10.0 * 4 * 5.0);
  EXPECT_EQ(backward.closes.total(), forward.opens.total());
  const MemoryStep evaluation = memory_step(cost, Op::kForward, stage, shape, {}, true);
  EXPECT_EQ(evaluation.change(), (10.0 - 30.0) * 4 * 3.0);
}

TEST(MemoryStep, TakesTemporariesFromALayerwiseProfile) {
  const CostModel cost = small_model(true);
  const StageId stage(0);
  const ChunkShape shape{.tokens = 10, .slices = 1};
  const auto step = [&](Op op) {
    return memory_step(cost, op, stage, shape, testing::inputs(1), false);
  };
  EXPECT_EQ(step(Op::kForward).holds, cost.forward_temporary(stage, shape, testing::inputs(1)));
  EXPECT_EQ(step(Op::kBackward).holds,
            cost.backward_temporary(stage, shape, testing::inputs(1), Op::kBackward));
  EXPECT_EQ(step(Op::kInputGrad).holds,
            cost.backward_temporary(stage, shape, testing::inputs(1), Op::kInputGrad));
  EXPECT_EQ(step(Op::kInputGrad).leaves.activations, 10.0 * 3 * 6.0);
  EXPECT_EQ(step(Op::kWeightGrad).closes.activations, 10.0 * 3 * 6.0);
  EXPECT_EQ(step(Op::kBackward).closes.activations, step(Op::kForward).opens.activations);
}

}  // namespace
}  // namespace infinipipe
