#include "runtime/optimizer_loops_aten.h"

#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sqrt.h>

namespace infinipipe::device_loops {

void adamw(const at::Tensor& weight, const at::Tensor& grad, const at::Tensor& exp_avg,
           const at::Tensor& exp_avg_sq, const loops::AdamWNumbers& numbers) {
  // Handles are cheap copies: ATen's in-place operations want them not const.
  at::Tensor w = weight;
  at::Tensor m = exp_avg;
  at::Tensor v = exp_avg_sq;
  m.mul_(numbers.beta1).add_(grad, (1.0 - numbers.beta1) * numbers.factor);
  v.mul_(numbers.beta2)
      .addcmul_(grad, grad, (1.0 - numbers.beta2) * numbers.factor * numbers.factor);
  const at::Tensor denominator = at::sqrt(v).mul_(numbers.root).add_(numbers.eps);
  w.mul_(numbers.keep).addcdiv_(m, denominator, -numbers.rate);
}

double sum_of_squares(const at::Tensor& tensor) {
  const double norm =
      at::linalg_vector_norm(tensor, 2.0, c10::nullopt, false, at::kDouble).item<double>();
  return norm * norm;
}

}  // namespace infinipipe::device_loops
