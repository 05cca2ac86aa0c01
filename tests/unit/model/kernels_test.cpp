// Every kernel twice: the CPU's fused loops against the composed ATen operations, in all dtypes,
// and both against autograd in float64.
#include "model/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <ostream>

#include "model_testing.h"

namespace infinipipe::kernels {
namespace {

using testing::random_tensor;
using testing::ReferenceModel;
using testing::relative_error;

constexpr std::int64_t kRows = 300;  // more than one block of rows whose gradients are summed
constexpr std::int64_t kColumns = 83;

at::ScalarType acc_of(at::ScalarType dtype) {
  return dtype == at::kDouble ? at::kDouble : at::kFloat;
}

struct Precision {
  const char* name;
  at::ScalarType dtype;
  double bound;  // between two orders of the same arithmetic, and one rounding of the result
};
void PrintTo(const Precision& precision, std::ostream* out) { *out << precision.name; }

class Kernels : public ::testing::TestWithParam<Precision> {
 protected:
  at::Tensor random(at::IntArrayRef sizes, std::uint64_t seed) const {
    return random_tensor(sizes, seed, GetParam().dtype);
  }
  at::Tensor random_acc(at::IntArrayRef sizes, std::uint64_t seed) const {
    return random_tensor(sizes, seed, acc_of(GetParam().dtype));
  }
  void expect_near(const at::Tensor& found, const at::Tensor& expected, const char* what) const {
    ASSERT_EQ(found.scalar_type(), expected.scalar_type()) << what;
    ASSERT_EQ(found.sizes(), expected.sizes()) << what;
    EXPECT_TRUE(found.is_contiguous()) << what;
    EXPECT_LE(relative_error(found, expected), GetParam().bound) << what;
  }
};

INSTANTIATE_TEST_SUITE_P(Dtypes, Kernels,
                         ::testing::Values(Precision{"float64", at::kDouble, 1e-14},
                                           Precision{"float32", at::kFloat, 1e-6},
                                           Precision{"bfloat16", at::kBFloat16, 4e-3}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(Kernels, RmsNormFusedEqualsComposed) {
  const at::Tensor x = random({kRows, kColumns}, 1), weight = random_acc({kColumns}, 2);
  const Normed found = rms_norm(x, weight, 1e-5), expected = composed::rms_norm(x, weight, 1e-5);
  expect_near(found.value, expected.value, "value");
  expect_near(found.rstd, expected.rstd, "rstd");
  EXPECT_TRUE(at::equal(rms_norm_again(x, found.rstd, weight), found.value));
  EXPECT_TRUE(at::equal(composed::rms_norm_again(x, expected.rstd, weight), expected.value));

  for (const bool residual : {false, true}) {
    const at::Tensor rest = residual ? random({kRows, kColumns}, 3) : at::Tensor();
    at::Tensor fused = random({kRows, kColumns}, 4), plain = fused.clone();
    at::Tensor fused_sum = random_acc({kColumns}, 5), plain_sum = fused_sum.clone();
    rms_norm_backward(fused, x, found.rstd, weight, rest, fused_sum);
    composed::rms_norm_backward(plain, x, found.rstd, weight, rest, plain_sum);
    expect_near(fused, plain, "input gradient");
    expect_near(fused_sum, plain_sum, "weight gradient");
  }
}

TEST_P(Kernels, RopeFusedEqualsComposed) {
  const Heads heads{6, 2, 8};
  const std::int64_t width = heads.query_width() + 2 * heads.kv_width();
  const at::Tensor positions = at::arange(kRows, at::dtype(at::kLong)).mul_(5).remainder_(700);
  const at::Tensor table =
      rope_table(1024, heads.dim, 10000.0, at::dtype(acc_of(GetParam().dtype)));
  const at::Tensor qkv = random({kRows, width}, 1);
  const QueryKeyValue found = rope_split(qkv, positions, table, heads);
  const QueryKeyValue expected = composed::rope_split(qkv, positions, table, heads);
  expect_near(found.query, expected.query, "query");
  expect_near(found.key, expected.key, "key");
  EXPECT_TRUE(at::equal(found.value, expected.value));
  for (const auto type : {GetParam().dtype, acc_of(GetParam().dtype)}) {
    const QueryKeyValue grad{random_tensor(found.query.sizes(), 2, type),
                             random_tensor(found.key.sizes(), 3, type),
                             random_tensor(found.value.sizes(), 4, type)};
    expect_near(rope_merge(grad, positions, table, heads, GetParam().dtype),
                composed::rope_merge(grad, positions, table, heads, GetParam().dtype), "gradient");
  }
}

TEST_P(Kernels, SwigluFusedEqualsComposed) {
  const at::Tensor gate_up = 3 * random({kRows, 2 * kColumns}, 1);
  expect_near(swiglu(gate_up), composed::swiglu(gate_up), "value");
  at::Tensor fused = gate_up.clone(), plain = gate_up.clone();
  at::Tensor fused_hidden = random({kRows, kColumns}, 2), plain_hidden = fused_hidden.clone();
  swiglu_backward(fused, fused_hidden);
  composed::swiglu_backward(plain, plain_hidden);
  expect_near(fused, plain, "gradient");
  expect_near(fused_hidden, plain_hidden, "value again");
}

TEST_P(Kernels, CrossEntropyFusedEqualsComposed) {
  const at::Tensor logits = 4 * random({kRows, kColumns}, 1);
  at::Tensor target = at::arange(kRows, at::dtype(at::kLong)).mul_(7).remainder_(kColumns);
  at::Tensor weight = random_acc({kRows}, 2).abs();
  weight.slice(0, 0, kRows, 5).zero_();
  target.slice(0, 0, kRows, 5).fill_(-1);  // counts nothing, whatever it is
  for (const bool gradient : {false, true}) {
    at::Tensor fused = logits.clone(), plain = logits.clone();
    const double found = cross_entropy(fused, target, weight, 0.01, gradient);
    const double expected = composed::cross_entropy(plain, target, weight, 0.01, gradient);
    EXPECT_NEAR(found, expected, GetParam().bound * expected);
    expect_near(fused, plain, gradient ? "gradient" : "untouched logits");
    EXPECT_EQ(at::equal(fused, logits), !gradient);
    if (gradient) {
      EXPECT_EQ(fused[5].abs().max().item<double>(), 0.0);
    }
  }
}

TEST_P(Kernels, EmbeddingFusedEqualsComposed) {
  const at::Tensor ids = at::arange(kRows, at::dtype(at::kLong)).remainder_(11);
  const at::Tensor rows = random({kRows, kColumns}, 1);
  at::Tensor fused = random_acc({13, kColumns}, 2), plain = fused.clone();
  embedding_backward(ids, rows, fused);
  composed::embedding_backward(ids, rows, plain);
  expect_near(fused, plain, "gradient");
}

// Autograd's gradients of `function`(inputs), for the given gradient of its result.
std::vector<at::Tensor> autograd(
    const std::vector<at::Tensor>& inputs, const at::Tensor& grad,
    const std::function<at::Tensor(const std::vector<at::Tensor>&)>& function) {
  std::vector<at::Tensor> leaves;
  for (const at::Tensor& each : inputs)
    leaves.push_back(each.detach().clone().requires_grad_(true));
  function(leaves).backward(grad);
  std::vector<at::Tensor> grads;
  for (const at::Tensor& leaf : leaves) grads.push_back(leaf.grad());
  return grads;
}

TEST(KernelGradients, EqualAutograd) {
  constexpr double kBound = 1e-12;
  const at::Tensor x = random_tensor({kRows, kColumns}, 1), weight = random_tensor({kColumns}, 2);
  const at::Tensor grad = random_tensor({kRows, kColumns}, 3);
  const auto norm = autograd({x, weight}, grad, [](const auto& in) {
    return ReferenceModel::rms_norm(in[0], in[1], 1e-5);
  });
  at::Tensor input_grad = grad.clone(), weight_grad = at::zeros_like(weight);
  rms_norm_backward(input_grad, x, rms_norm(x, weight, 1e-5).rstd, weight, {}, weight_grad);
  EXPECT_LE(relative_error(input_grad, norm[0]), kBound);
  EXPECT_LE(relative_error(weight_grad, norm[1]), kBound);

  const at::Tensor gate_up = random_tensor({kRows, 2 * kColumns}, 4);
  const auto mlp = autograd({gate_up}, grad, [](const auto& in) {
    return at::silu(in[0].slice(1, 0, kColumns)) * in[0].slice(1, kColumns);
  });
  at::Tensor both = gate_up.clone(), hidden = grad.clone();
  swiglu_backward(both, hidden);
  EXPECT_LE(relative_error(both, mlp[0]), kBound);

  const Heads heads{3, 1, 8};
  const at::Tensor positions = at::arange(kRows, at::dtype(at::kLong));
  const at::Tensor table = rope_table(kRows, heads.dim, 10000.0, at::dtype(at::kDouble));
  const at::Tensor query = random_tensor({kRows, heads.query_width()}, 5);
  const at::Tensor query_grad = random_tensor({kRows, heads.query_width()}, 6);
  const auto rope = autograd({query}, query_grad, [&](const auto& in) {
    return ReferenceModel::rope(in[0].view({kRows, heads.query, heads.dim}), 10000.0)
        .reshape({kRows, heads.query_width()});
  });
  const at::Tensor none = at::zeros({kRows, heads.kv_width()}, at::dtype(at::kDouble));
  const at::Tensor merged =
      rope_merge({query_grad, none, none}, positions, table, heads, at::kDouble);
  EXPECT_LE(relative_error(merged.slice(1, 0, heads.query_width()), rope[0]), kBound);

  const at::Tensor logits = random_tensor({kRows, kColumns}, 7);
  const at::Tensor target = at::arange(kRows, at::dtype(at::kLong)).remainder_(kColumns);
  const at::Tensor weights = random_tensor({kRows}, 8).abs();
  const auto entropy =
      autograd({logits}, at::scalar_tensor(0.25, at::dtype(at::kDouble)), [&](const auto& in) {
        const at::Tensor chosen = at::log_softmax(in[0], 1).gather(1, target.unsqueeze(1));
        return -(chosen.squeeze(1) * weights).sum();
      });
  at::Tensor in_place = logits.clone();
  cross_entropy(in_place, target, weights, 0.25, true);
  EXPECT_LE(relative_error(in_place, entropy[0]), kBound);
}

// Large and small arguments: what a diverging run feeds its kernels.
TEST(KernelEdges, SurviveExtremeArguments) {
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    const double large = 5000.0;
    const at::Tensor gate_up =
        at::tensor({-large, -100.0, 0.0, 100.0, large, 1.0, 1.0, 1.0, 1.0, 1.0}, at::dtype(dtype))
            .view({1, 10});
    const at::Tensor value = swiglu(gate_up);
    EXPECT_LE(relative_error(value, composed::swiglu(gate_up)), 1e-6) << value;

    at::Tensor logits = at::tensor({-large, 0.0, large, large}, at::dtype(dtype)).view({1, 4});
    const at::Tensor target = at::tensor({0}, at::dtype(at::kLong));
    const at::Tensor weight = at::ones({1}, at::dtype(dtype));
    EXPECT_NEAR(cross_entropy(logits, target, weight, 1.0, true), 2 * large + std::log(2.0), 1e-3);
    EXPECT_TRUE(at::allclose(logits, at::tensor({-1.0, 0.0, 0.5, 0.5}, at::dtype(dtype))));
  }
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    at::Tensor logits = at::zeros({1, 40}, at::dtype(at::kFloat));
    logits.fill_(0.5);
    logits[0][20] = bad;
    const double loss = cross_entropy(logits, at::tensor({0}, at::dtype(at::kLong)),
                                      at::ones({1}, at::dtype(at::kFloat)), 1.0, true);
    EXPECT_FALSE(std::isfinite(loss));
  }
}

}  // namespace
}  // namespace infinipipe::kernels
