// Names, shapes, initial values and fused storage of a stage's parameters.
#include "model/common/parameters.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include "model/common/linear.h"
#include "unit/model/model_testing.h"

namespace infinipipe {
namespace {

using testing::Pipeline;
using testing::relative_error;
using testing::small_model;

TEST(Parameters, HaveHuggingFaceNamesAndShapes) {
  ModelSpec model = small_model();
  model.head_dim = 10;
  model.num_hidden_layers = 1;
  Pipeline pipeline(model, {1});
  const std::vector<std::pair<std::string, std::vector<std::int64_t>>> expected = {
      {"model.embed_tokens.weight", {61, 32}},
      {"model.layers.0.input_layernorm.weight", {32}},
      {"model.layers.0.self_attn.q_proj.weight", {40, 32}},
      {"model.layers.0.self_attn.k_proj.weight", {20, 32}},
      {"model.layers.0.self_attn.v_proj.weight", {20, 32}},
      {"model.layers.0.self_attn.o_proj.weight", {32, 40}},
      {"model.layers.0.post_attention_layernorm.weight", {32}},
      {"model.layers.0.mlp.gate_proj.weight", {44, 32}},
      {"model.layers.0.mlp.up_proj.weight", {44, 32}},
      {"model.layers.0.mlp.down_proj.weight", {32, 44}},
      {"model.norm.weight", {32}},
      {"lm_head.weight", {61, 32}}};
  auto found = pipeline.parameters();
  EXPECT_EQ(found.size(), expected.size());
  std::int64_t total = 0;
  for (const auto& [name, shape] : expected) {
    ASSERT_EQ(found.count(name), 1U) << name;
    const Parameter& parameter = found.at(name);
    EXPECT_EQ(parameter.master.sizes().vec(), shape) << name;
    EXPECT_EQ(parameter.weight.sizes().vec(), shape) << name;
    EXPECT_EQ(parameter.grad.sizes().vec(), shape) << name;
    EXPECT_EQ(parameter.decay, shape.size() == 2) << name;
    EXPECT_TRUE(parameter.master.is_contiguous());
    total += parameter.master.numel();
  }
  EXPECT_EQ(total, model.parameters());
  const auto& list = pipeline.stage(0).parameters();
  EXPECT_EQ(list.front().name, expected.front().first);  // model order
  EXPECT_EQ(list.back().name, expected.back().first);
}

TEST(Parameters, FusedMatricesShowAsViews) {
  Pipeline pipeline(small_model(), {3});
  auto all = pipeline.parameters();
  const std::string layer = "model.layers.1.";
  const auto storage = [&](const std::string& name) {
    return all.at(layer + name + ".weight").master.storage().data();
  };
  EXPECT_EQ(storage("self_attn.q_proj"), storage("self_attn.k_proj"));
  EXPECT_EQ(storage("self_attn.q_proj"), storage("self_attn.v_proj"));
  EXPECT_EQ(storage("mlp.gate_proj"), storage("mlp.up_proj"));
  EXPECT_NE(storage("mlp.gate_proj"), storage("mlp.down_proj"));
}

TEST(Parameters, InitialValuesDependOnSeedAndNameOnly) {
  const ModelSpec model = small_model();
  const auto whole = Pipeline(model, {3}).parameters();
  const auto split = Pipeline(model, {1, 2}).parameters();
  const auto single = Pipeline(model, {3}, at::kFloat).parameters();
  const auto half = Pipeline(model, {2, 1}, at::kBFloat16).parameters();
  const auto other = Pipeline(model, {3}, at::kDouble, 2).parameters();
  for (const auto& [name, parameter] : whole) {
    EXPECT_TRUE(at::equal(parameter.master, split.at(name).master)) << name;
    EXPECT_TRUE(at::equal(parameter.master.to(at::kFloat), single.at(name).master)) << name;
    EXPECT_TRUE(at::equal(single.at(name).master, half.at(name).master)) << name;
    EXPECT_EQ(parameter.grad.abs().max().item<double>(), 0.0) << name;
    if (parameter.decay) {
      EXPECT_GT(relative_error(parameter.master, other.at(name).master), 1.0);
    }
  }
  const auto a = whole.at("model.layers.0.mlp.gate_proj.weight").master;
  EXPECT_GT(relative_error(a, whole.at("model.layers.1.mlp.gate_proj.weight").master), 1.0);
  EXPECT_GT(relative_error(a, whole.at("model.layers.0.mlp.up_proj.weight").master), 1.0);
}

TEST(Parameters, InitialSpreadIsAsStated) {
  ModelSpec model = small_model();
  model.hidden_size = 128;
  model.intermediate_size = 300;
  model.initializer_range = 0.02;
  auto all = Pipeline(model, {3}).parameters();
  const auto deviation = [&](const std::string& name) {
    return all.at("model.layers.2." + name + ".weight").master.std().item<double>();
  };
  EXPECT_NEAR(deviation("mlp.gate_proj"), 0.02, 0.0005);
  EXPECT_NEAR(deviation("mlp.down_proj"), 0.02 / std::sqrt(6.0), 0.0003);
  EXPECT_NEAR(deviation("self_attn.o_proj"), 0.02 / std::sqrt(6.0), 0.0003);
  EXPECT_EQ(all.at("model.norm.weight").master.min().item<double>(), 1.0);
  EXPECT_EQ(all.at("model.norm.weight").master.max().item<double>(), 1.0);
}

TEST(Parameters, AreDrawnAlikeByAnyNumberOfThreads) {
  StageModel::Options options;
  options.model = small_model();
  options.model.vocab_size = 700;
  options.layers = {0, 1};
  options.embedding = true;
  StageModel one(options);
  for (const int threads : {2, 5, 100}) {
    options.init_threads = threads;
    StageModel several(options);
    for (std::size_t i = 0; i < one.parameters().size(); ++i)
      EXPECT_TRUE(at::equal(several.parameters()[i].master, one.parameters()[i].master)) << threads;
  }
}

TEST(Parameters, HalfPrecisionCopiesFollowTheirMasters) {
  Pipeline pipeline(small_model(), {3}, at::kBFloat16);
  for (const Parameter& parameter : pipeline.stage(0).parameters()) {
    EXPECT_EQ(parameter.master.scalar_type(), at::kFloat);
    EXPECT_EQ(parameter.grad.scalar_type(), at::kFloat);
    EXPECT_EQ(parameter.weight.scalar_type(), parameter.decay ? at::kBFloat16 : at::kFloat);
    parameter.master.add_(1.0);
  }
  pipeline.stage(0).weights_changed();
  for (const Parameter& parameter : pipeline.stage(0).parameters())
    EXPECT_TRUE(at::equal(parameter.weight, parameter.master.to(parameter.weight.scalar_type())));
}

TEST(Linear, WidenedHalfPrecisionProductsAgree) {
  const at::Tensor x = testing::random_tensor({1500, 24}, 1, at::kBFloat16);
  const at::Tensor y = testing::random_tensor({1500, 40}, 2, at::kBFloat16);
  const at::Tensor master = testing::random_tensor({40, 24}, 3, at::kFloat);
  Weight weight{master.to(at::kBFloat16), master, at::ones({40, 24})};
  const at::Tensor exact_x = x.to(at::kDouble), exact_w = weight.value.to(at::kDouble);
  const at::Tensor exact_y = y.to(at::kDouble);
  EXPECT_LE(relative_error(linear::apply({}, x, weight), at::matmul(exact_x, exact_w.t())), 4e-3);
  EXPECT_LE(relative_error(linear::apply_add({}, y, x, weight),
                           exact_y + at::matmul(exact_x, exact_w.t())),
            4e-3);
  EXPECT_LE(relative_error(linear::input_grad({}, y, weight), at::matmul(exact_y, exact_w)), 4e-3);
  linear::weight_grad({}, y, x, weight);
  const at::Tensor exact = at::matmul(exact_y.t(), exact_x);
  EXPECT_LE(relative_error(weight.grad, 1.0 + exact), 4e-3);
  // A GPU's path never rounds a gradient to bfloat16.
  Weight on_device{master.to(at::kBFloat16), master, at::ones({40, 24})};
  linear::weight_grad({.device = true}, y, x, on_device);
  EXPECT_LE(relative_error(on_device.grad, 1.0 + exact), 1e-6);
}

}  // namespace
}  // namespace infinipipe
