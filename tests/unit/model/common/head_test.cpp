// The head against plain cross-entropy, and what it may allocate.
#include "model/common/head.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gtest/gtest.h>

#include "unit/model/model_testing.h"

namespace infinipipe {
namespace {

using testing::random_tensor;
using testing::ReferenceModel;
using testing::relative_error;

// Notes the largest block that this thread allocates while it is installed.
class LargestAllocation : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    largest_ = std::max(largest_, size);
  }
  bool memoryProfilingEnabled() const override { return true; }
  std::int64_t largest() const { return largest_; }

 private:
  std::int64_t largest_ = 0;
};

struct Sizes {
  std::int64_t tokens, vocabulary;
  Tokens block;
};

class HeadTest : public ::testing::TestWithParam<Sizes> {};

TEST_P(HeadTest, EqualsPlainCrossEntropy) {
  const auto [tokens, vocabulary, block] = GetParam();
  ModelSpec model = testing::small_model();
  model.vocab_size = vocabulary;
  const auto weight_of = [](const at::Tensor& values) {
    return Weight{values, values, at::zeros_like(values)};
  };
  Weight norm = weight_of(random_tensor({32}, 1));
  Weight projection = weight_of(random_tensor({vocabulary, 32}, 2));
  const at::Tensor hidden = random_tensor({tokens, 32}, 3);
  ChunkTargets targets{at::arange(tokens, at::dtype(at::kLong)) * 5 % vocabulary,
                       random_tensor({tokens}, 4).abs(), 17.0};
  targets.weight.slice(0, 0, 3).zero_();
  targets.target.slice(0, 0, 3).fill_(-1);
  const StageContext context;
  Head head(model, norm, projection, block, context);
  const Head::Result result = head.loss(hidden, targets, true);

  const auto leaf = [](const at::Tensor& x) { return x.clone().requires_grad_(true); };
  const at::Tensor x = leaf(hidden), w = leaf(norm.value), p = leaf(projection.value);
  const at::Tensor normed = ReferenceModel::rms_norm(x, w, model.rms_norm_eps);
  const at::Tensor log_probability = at::log_softmax(at::matmul(normed, p.t()), 1);
  const at::Tensor loss =
      -(log_probability.gather(1, targets.target.clamp_min(0).unsqueeze(1)).squeeze(1) *
        targets.weight)
           .sum();
  (loss / targets.normalizer).backward();
  const double expected = loss.item<double>();
  EXPECT_NEAR(result.loss.item<double>(), expected, 1e-12 * std::abs(expected));
  EXPECT_LE(relative_error(result.hidden_grad, x.grad()), 1e-12);
  EXPECT_LE(relative_error(norm.grad, w.grad()), 1e-12);
  EXPECT_LE(relative_error(projection.grad, p.grad()), 1e-12);

  const at::Tensor kept = projection.grad.clone();
  const Head::Result evaluation = head.loss(hidden, targets, false);
  EXPECT_TRUE(at::equal(evaluation.loss, result.loss));
  EXPECT_FALSE(evaluation.hidden_grad.defined());
  EXPECT_TRUE(at::equal(projection.grad, kept));
}

INSTANTIATE_TEST_SUITE_P(Sizes, HeadTest,
                         ::testing::Values(Sizes{4, 5, 1024}, Sizes{200, 61, 64}, Sizes{64, 61, 64},
                                           Sizes{65, 257, 1}, Sizes{300, 32000, 1024}));

// A GPU reads the whole projection for each block, however large the vocabulary is.
TEST(Head, BlocksSuitThePath) {
  ModelSpec model = testing::small_model();
  const auto block = [&](std::int64_t vocabulary, const ComputePath& path, Tokens most) {
    model.vocab_size = vocabulary;
    Weight norm, projection;
    StageContext context;
    context.path = path;
    return Head(model, norm, projection, most, context).block();
  };
  const fused::Launchers launchers;
  const ComputePath fused{.device = true, .launchers = &launchers}, composed{.device = true};
  EXPECT_EQ(block(128256, {}, 0), Head::kLeastBlock);
  EXPECT_EQ(block(32000, {}, 0), Head::kBlockLogits / 32000);
  EXPECT_EQ(block(61, {}, 0), Head::kBlockTokens);
  EXPECT_EQ(block(61, {}, 100), 100);
  EXPECT_EQ(block(128256, fused, 0), Head::kDeviceBlock);
  EXPECT_EQ(block(128256, composed, 0), Head::kComposedBlock);
  EXPECT_EQ(block(128256, fused, 100), 100);
}

// With a vocabulary of 32K nothing of the size tokens x vocabulary or tokens x tokens exists, in
// the whole stage, forward and backward.
TEST(Head, LogitsExistForOneBlockOnly) {
  const at::NoGradGuard no_grad;
  StageModel::Options options;
  options.model = testing::small_model();
  options.model.vocab_size = 32000;
  options.model.hidden_size = 16;
  options.model.num_hidden_layers = 1;
  options.layers = {0, 1};
  options.embedding = options.head = true;
  StageModel stage(options);
  constexpr std::int64_t kTokens = 3000;
  const testing::TokenLists sequences = {testing::random_tokens(kTokens, 32000, 1)};
  const ChunkWork chunk{{testing::slice_of(0, 0, kTokens, kTokens)}, 1};
  const at::Tensor ids = testing::Pipeline::ids(sequences, chunk);
  const ChunkTargets targets =
      testing::Pipeline::targets_of(sequences, chunk, {}, static_cast<double>(kTokens));
  KvStore store;
  const auto counter = std::make_shared<LargestAllocation>();
  {
    const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, counter);
    auto out = stage.forward(chunk, ids, &targets, store, true);
    stage.backward(std::move(out.state), {}, store);
  }
  EXPECT_GT(counter->largest(), 1 << 20);  // it did count: one block of logits at least
  EXPECT_LE(counter->largest(), Head::kBlockLogits * 4);
  EXPECT_LT(counter->largest(), kTokens * kTokens * 4 / 2);
}

}  // namespace
}  // namespace infinipipe
