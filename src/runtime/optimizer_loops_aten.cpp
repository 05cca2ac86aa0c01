#include "runtime/optimizer_loops_aten.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sqrt.h>

#include <algorithm>

#include "model/common/fused/choose.h"
#include "model/common/fused/tensors.h"

namespace infinipipe::device_loops {

namespace {

bool serves(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kFloat && tensor.is_contiguous();
}

}  // namespace

void adamw(const fused::Launchers* launchers, const at::Tensor& weight, const at::Tensor& grad,
           const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq, const at::Tensor& copy,
           const loops::AdamWNumbers& numbers) {
  const bool copied =
      !copy.defined() || (copy.scalar_type() == at::kBFloat16 && copy.is_contiguous());
  if (launchers != nullptr && copied && serves(weight) && serves(grad)) {
    const auto data = [](const at::Tensor& tensor) { return tensor.mutable_data_ptr<float>(); };
    fused::start(launchers->adamw,
                 fused::AdamWWork{.weight = data(weight),
                                  .grad = grad.const_data_ptr<float>(),
                                  .exp_avg = data(exp_avg),
                                  .exp_avg_sq = data(exp_avg_sq),
                                  .copy = copy.defined() ? copy.mutable_data_ptr() : nullptr,
                                  .count = weight.numel(),
                                  .factor = numbers.factor,
                                  .beta1 = numbers.beta1,
                                  .beta2 = numbers.beta2,
                                  .eps = numbers.eps,
                                  .keep = numbers.keep,
                                  .rate = numbers.rate,
                                  .root = numbers.root},
                 weight);
    return;
  }
  exp_avg.mul_(numbers.beta1).add_(grad, (1.0 - numbers.beta1) * numbers.factor);
  exp_avg_sq.mul_(numbers.beta2)
      .addcmul_(grad, grad, (1.0 - numbers.beta2) * numbers.factor * numbers.factor);
  const at::Tensor denominator = at::sqrt(exp_avg_sq).mul_(numbers.root).add_(numbers.eps);
  weight.mul_(numbers.keep).addcdiv_(exp_avg, denominator, -numbers.rate);
  if (copy.defined()) copy.copy_(weight);
}

double sum_of_squares(const fused::Launchers* launchers, std::span<const at::Tensor> tensors) {
  if (tensors.empty()) return 0.0;
  if (launchers == nullptr || !std::ranges::all_of(tensors, serves)) {
    double sum = 0.0;
    for (const at::Tensor& each : tensors) {
      const double norm =
          at::linalg_vector_norm(each, 2.0, c10::nullopt, false, at::kDouble).item<double>();
      sum += norm * norm;
    }
    return sum;
  }
  std::int64_t parts = 0;
  for (const at::Tensor& each : tensors) parts += fused::squares_parts(each.numel());
  const auto exact = tensors[0].options().dtype(at::kDouble);
  const at::Tensor partial = at::empty({parts}, exact), total = at::empty({1}, exact);
  auto* at = partial.mutable_data_ptr<double>();
  for (const at::Tensor& each : tensors) {
    const std::int64_t count = each.numel();
    fused::start(launchers->squares, fused::SquaresWork{each.const_data_ptr<float>(), at, count},
                 each);
    at += fused::squares_parts(count);
  }
  fused::start(
      launchers->total,
      fused::TotalWork{partial.const_data_ptr<double>(), total.mutable_data_ptr<double>(), parts},
      total);
  return total.item<double>();
}

}  // namespace infinipipe::device_loops
