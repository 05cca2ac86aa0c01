// Each kernel's backward against autograd in float64, and what a diverging run feeds them.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "model/common/kernels.h"
#include "unit/model/model_testing.h"

namespace infinipipe::kernels {
namespace {

using testing::random_tensor;
using testing::ReferenceModel;
using testing::relative_error;

constexpr std::int64_t kRows = 300;  // more than one block of rows whose gradients are summed
constexpr std::int64_t kColumns = 83;

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
  const at::Tensor table =
      rope_table(kRows, rope_frequencies({}, 10000.0, heads.dim, 0, 0), at::dtype(at::kDouble));
  const at::Tensor query = random_tensor({kRows, heads.query_width()}, 5);
  const at::Tensor query_grad = random_tensor({kRows, heads.query_width()}, 6);
  const auto rope = autograd({query}, query_grad, [&](const auto& in) {
    return ReferenceModel::rope(in[0].view({kRows, heads.query, heads.dim}),
                                rope_frequencies({}, 10000.0, heads.dim, 0, 0))
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

TEST(KernelGradients, LogitsThatAreNoNumbersGiveNoLoss) {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    at::Tensor logits = at::zeros({1, 40}, at::dtype(at::kFloat));
    logits.fill_(0.5);
    logits[0][20] = bad;
    const at::Tensor loss = cross_entropy(logits, at::tensor({0}, at::dtype(at::kLong)),
                                          at::ones({1}, at::dtype(at::kFloat)), 1.0, true);
    EXPECT_FALSE(std::isfinite(loss.item<double>()));
  }
}

}  // namespace
}  // namespace infinipipe::kernels
