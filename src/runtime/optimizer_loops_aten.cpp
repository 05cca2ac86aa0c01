#include "runtime/optimizer_loops_aten.h"

#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sqrt.h>

namespace infinipipe::device_loops {

void adamw(const at::Tensor& weight, const at::Tensor& grad, const at::Tensor& exp_avg,
           const at::Tensor& exp_avg_sq, const loops::AdamWNumbers& numbers) {
  exp_avg.mul_(numbers.beta1).add_(grad, (1.0 - numbers.beta1) * numbers.factor);
  exp_avg_sq.mul_(numbers.beta2)
      .addcmul_(grad, grad, (1.0 - numbers.beta2) * numbers.factor * numbers.factor);
  const at::Tensor denominator = at::sqrt(exp_avg_sq).mul_(numbers.root).add_(numbers.eps);
  weight.mul_(numbers.keep).addcdiv_(exp_avg, denominator, -numbers.rate);
}

double sum_of_squares(const at::Tensor& tensor) {
  const double norm =
      at::linalg_vector_norm(tensor, 2.0, c10::nullopt, false, at::kDouble).item<double>();
  return norm * norm;
}

}  // namespace infinipipe::device_loops
