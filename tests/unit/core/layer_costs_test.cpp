// FLOPs of layers and steps, counted by hand. What a layer keeps is compared with the tensors of a
// real one in tests/unit/model/common/decoder/saved_bytes_test.cpp.
#include "core/layer_costs.h"

#include <gtest/gtest.h>

#include <vector>

namespace infinipipe {
namespace {

TEST(LayerCosts, MatmulParametersAreMatricesAndHead) {
  ModelSpec model{.vocab_size = 11,
                  .hidden_size = 8,
                  .intermediate_size = 5,
                  .num_hidden_layers = 3,
                  .num_attention_heads = 4,
                  .num_key_value_heads = 2,
                  .head_dim = 6};
  const std::int64_t layer = 8 * 24 + 8 * 12 + 8 * 12 + 24 * 8 + 3 * 8 * 5;
  EXPECT_EQ(layer_matmul_parameters(model), layer);
  EXPECT_EQ(matmul_parameters(model), 3 * layer + 11 * 8);
  model.tie_word_embeddings = true;
  EXPECT_EQ(matmul_parameters(model), 3 * layer + 11 * 8);
}

TEST(LayerCosts, FlopsCountMatmulsAndCausalAttention) {
  const ModelSpec model = model_preset("tiny");
  const std::vector<Tokens> sequences = {100, 7};
  const double matmul = 6.0 * static_cast<double>(matmul_parameters(model)) * 107.0;
  // Scores and values: 2 x 2 x s^2 x width, half of it below the diagonal; backward is twice.
  const double attention = 3.0 * 4 * (2.0 * 2.0 * 128.0 / 2.0) * (100.0 * 100.0 + 49.0);
  EXPECT_DOUBLE_EQ(training_flops(model, sequences), matmul + attention);
  EXPECT_EQ(training_flops(model, {}), 0.0);
  // Layers and head together are the whole.
  EXPECT_DOUBLE_EQ(head_flops_per_token(model), 2.0 * 257 * 128);
  EXPECT_DOUBLE_EQ(3.0 * (4 * layer_flops_per_token(model) + head_flops_per_token(model)),
                   6.0 * static_cast<double>(matmul_parameters(model)));
  EXPECT_DOUBLE_EQ(layer_flops_per_token2(model), 256.0);
}

TEST(LayerCosts, ALayerHoldsNoMoreThanItKept) {
  for (const std::string& name : model_preset_names()) {
    const ModelSpec model = model_preset(name);
    const TokenNumbers kept = layer_kept(model);
    const TokenNumbers pending = layer_pending(model);
    EXPECT_LE(pending.compute, kept.compute) << name;
    EXPECT_LE(pending.sums, kept.sums) << name;
    const TokenNumbers input = layer_input(model);
    for (const KeepLevel& level : kKeepLevels) {
      if (level.keep == Keep::kAll) continue;
      const TokenNumbers beside = layer_beside_input(model, level.keep);
      EXPECT_LT(input.compute + beside.compute, kept.compute) << name << ", " << level.name;
      EXPECT_LE(input.sums + beside.sums, kept.sums) << name << ", " << level.name;
    }
  }
}

TEST(LayerCosts, BytesWeighBothKindsOfNumbers) {
  EXPECT_EQ((TokenNumbers{3, 5}.bytes(2.0, 4.0)), 26.0);
}

}  // namespace
}  // namespace infinipipe
