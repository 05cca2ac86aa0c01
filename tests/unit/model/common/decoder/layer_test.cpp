// One decoder layer, without embedding and head, against autograd in float64; and the head's
// blocks.
#include <gtest/gtest.h>

#include <ostream>

#include "unit/model/model_testing.h"

namespace infinipipe {
namespace {

using testing::random_tensor;
using testing::random_tokens;
using testing::ReferenceModel;
using testing::relative_error;
using testing::slice_of;
using testing::small_model;

constexpr Tokens kLength = 150;

std::vector<ModelSpec> models_of_one_layer() {
  ModelSpec model = small_model();
  model.num_hidden_layers = 1;
  std::vector<ModelSpec> models;
  for (const std::int64_t key_value_heads : {1, 2, 4}) {
    models.push_back(model);
    models.back().num_key_value_heads = key_value_heads;
  }
  for (const FamilyRow& family : kFamilies) {
    models.push_back(model);
    models.back().family = family.value;
    models.back().head_dim = 10;
  }
  model.rope.type = RopeType::kYarn;  // the one whose cosines are scaled
  model.rope.factor = 4.0;
  model.rope.original_max_position_embeddings = 40;
  models.push_back(model);
  return models;
}

struct Way {
  const char* name;
  std::vector<Tokens> bounds;
  int recompute;
  bool halves;
};
void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class Layer : public ::testing::TestWithParam<Way> {};

INSTANTIATE_TEST_SUITE_P(Ways, Layer,
                         ::testing::Values(Way{"whole", {0, kLength}, 0, false},
                                           Way{"whole_halves", {0, kLength}, 0, true},
                                           Way{"sliced", {0, 70, 71, kLength}, 0, false},
                                           Way{"sliced_halves", {0, 70, 71, kLength}, 0, true},
                                           Way{"recomputed", {0, 64, kLength}, 1, false},
                                           Way{"recomputed_halves", {0, 64, kLength}, 1, true}),
                         [](const auto& test) { return std::string(test.param.name); });

// Input and every weight: relative error at most 1e-10, at once and in two halves.
TEST_P(Layer, BackwardEqualsAutograd) {
  const Way& way = GetParam();
  for (const ModelSpec& model : models_of_one_layer()) {
    SCOPED_TRACE(to_string(model.family));
    StageModel::Options options;
    options.model = model;
    options.layers = {0, 1};
    options.dtype = at::kDouble;
    StageModel stage(options);
    ReferenceModel oracle(model);
    testing::set_random_vectors(stage);
    for (const Parameter& each : stage.parameters()) oracle.set(each.name, each.master);
    const at::Tensor x = random_tensor({kLength, model.hidden_size}, 1);
    const at::Tensor output_grad = random_tensor({kLength, model.hidden_size}, 2);
    const at::Tensor leaf = x.clone().requires_grad_(true);
    const at::Tensor expected = oracle.layer(0, leaf);
    expected.backward(output_grad);

    KvStore store;
    const std::size_t count = way.bounds.size() - 1;
    std::vector<at::Tensor> outputs, input_grads(count);
    std::vector<std::unique_ptr<ChunkState>> states;
    const auto rows = [&](const at::Tensor& all, std::size_t i) {
      return all.slice(0, way.bounds[i], way.bounds[i + 1]);
    };
    for (std::size_t i = 0; i < count; ++i) {
      const ChunkWork chunk{{slice_of(0, way.bounds[i], way.bounds[i + 1], kLength)},
                            Keeping::of(Keep::kInput, way.recompute)};
      auto out = stage.forward(chunk, rows(x, i).clone(), nullptr, store, /*keep=*/true);
      outputs.push_back(out.output);
      states.push_back(std::move(out.state));
    }
    for (std::size_t i = count; i-- > 0;) {
      const at::Tensor grad = rows(output_grad, i).clone();
      input_grads[i] = way.halves ? stage.backward_input(*states[i], grad, store)
                                  : stage.backward(std::move(states[i]), grad, store);
    }
    if (way.halves)
      for (auto& state : states) stage.backward_weight(*state);

    EXPECT_LE(relative_error(at::cat(outputs, 0), expected.detach()), 1e-12);
    EXPECT_LE(relative_error(at::cat(input_grads, 0), leaf.grad()), 1e-10);
    EXPECT_EQ(stage.parameters().size(),
              9U + (model.qkv_bias() ? 3U : 0U) + (model.qk_norm() ? 2U : 0U));
    for (const Parameter& each : stage.parameters())
      EXPECT_LE(relative_error(each.grad, oracle.grad(each.name)), 1e-10) << each.name;
    EXPECT_TRUE(store.empty());
  }
}

// However small its blocks, the head gives one loss and one gradient; without targets' gradients
// nothing is kept.
TEST(HeadBlocks, DoNotChangeTheResult) {
  ModelSpec model = small_model();
  model.num_hidden_layers = 1;
  const std::vector<std::int64_t> tokens = random_tokens(101, model.vocab_size, 3);
  std::vector<at::Tensor> weights, inputs;
  std::vector<double> losses;
  for (const Tokens block : {32, 40, 101, 1024}) {
    StageModel::Options options;
    options.model = model;
    options.layers = {0, 1};
    options.head = true;
    options.dtype = at::kDouble;
    options.head_block_tokens = block;
    StageModel stage(options);
    const ChunkWork chunk{{slice_of(0, 0, 101, 101)}, 0};
    const ChunkTargets targets = testing::Pipeline::targets_of({tokens}, chunk, {}, 100.0);
    KvStore store;
    auto out = stage.forward(chunk, random_tensor({101, model.hidden_size}, 1), &targets, store,
                             /*keep=*/true);
    losses.push_back(out.loss.item<double>());
    inputs.push_back(stage.backward(std::move(out.state), {}, store));
    for (const Parameter& each : stage.parameters())
      if (each.name == "lm_head.weight") weights.push_back(each.grad.clone());
  }
  ASSERT_EQ(weights.size(), 4U);
  for (std::size_t i = 1; i < weights.size(); ++i) {
    EXPECT_NEAR(losses[i], losses[0], 1e-12 * losses[0]);
    EXPECT_LE(relative_error(weights[i], weights[0]), 1e-13);
    EXPECT_LE(relative_error(inputs[i], inputs[0]), 1e-13);
  }
}

}  // namespace
}  // namespace infinipipe
