// What slicing saves, and what must never exist: counted by the allocator.
#include <gtest/gtest.h>

#include <algorithm>

#include "property/training/sliced_plan.h"
#include "support/engine_case.h"
#include "support/keeping.h"

namespace infinipipe::testing {
namespace {

StepResult run(const ModelSpec& model, const Plan& plan) {
  Engine engine(engine_options(model, plan, Dtype::kFloat32));
  Random random(1);
  return engine.run(plan, random_batch(random, plan.sequences, model.vocab_size));
}

// Attention is kept narrow, as its time is quadratic and its memory is not.
ModelSpec narrow_attention(int layers) {
  ModelSpec model = small_model(layers, 64);
  model.intermediate_size = 128;
  model.num_attention_heads = 1;
  model.num_key_value_heads = 1;
  model.head_dim = 16;
  return model;
}

TEST(Memory, SlicesLetFirstStagesHoldLess) {
  constexpr Tokens kLength = 16384;
  const ModelSpec model = narrow_attention(4);
  const std::vector<Tokens> documents(4, kLength);
  const StepResult whole = run(model, sliced_plan(documents, {4, 4, 1}));
  const StepResult sliced = run(model, sliced_plan(documents, {4, 4, 8}));
  EXPECT_NEAR(sliced.loss, whole.loss, 1e-5 * whole.loss);
  // In theory (8 + 3) / 8 of one document instead of four.
  const double ratio = sliced.peak_activation_bytes[0] / whole.peak_activation_bytes[0];
  std::printf("first stage's peak activations: %.1f MB in 8 slices, %.1f MB whole, ratio %.3f\n",
              sliced.peak_activation_bytes[0] / 1e6, whole.peak_activation_bytes[0] / 1e6, ratio);
  EXPECT_LE(ratio, 0.45);
  EXPECT_GE(ratio, 0.30);  // less would mean that something is not counted
  for (const StepResult* result : {&whole, &sliced}) {
    for (const Bytes largest : result->largest_allocation)
      EXPECT_LT(largest, 4.0 * kLength * kLength / 16);
  }
}

TEST(Memory, NoLogitsOfAChunkAndNoScoreMatrix) {
  constexpr Tokens kLength = 4096;
  ModelSpec model = narrow_attention(2);
  model.vocab_size = 32768;
  for (const int slices : {1, 4}) {
    const StepResult result = run(model, sliced_plan({kLength, 100}, {2, 2, slices}));
    for (std::size_t p = 0; p < 2; ++p) {
      EXPECT_LT(result.largest_allocation[p], 4.0 * kLength * kLength / 2) << "stage " << p;
      EXPECT_LT(result.largest_allocation[p], 4.0 * kLength * 32768 / 8) << "stage " << p;
    }
    EXPECT_GE(result.largest_allocation[1], 4.0 * 64 * kLength);  // it does see tensors
  }
}

TEST(Memory, RecomputationTradesActivationsForTime) {
  const ModelSpec model = narrow_attention(4);
  Plan plan = sliced_plan({2048, 2048}, {2, 4, 4});
  const StepResult kept = run(model, plan);
  for (Chunk& chunk : plan.replicas[0].pipelines[0].chunks) chunk.keeping = testing::inputs({2, 2});
  const StepResult again = run(model, plan);
  EXPECT_EQ(kept.loss, again.loss);
  for (std::size_t p = 0; p < 2; ++p)
    EXPECT_LT(again.peak_activation_bytes[p], 0.75 * kept.peak_activation_bytes[p]);
}

}  // namespace
}  // namespace infinipipe::testing
