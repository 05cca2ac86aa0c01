#include "model/linear.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

namespace infinipipe::linear {

at::Tensor apply(const at::Tensor& x, const Weight& weight) { return at::mm(x, weight.value.t()); }

at::Tensor apply_add(const at::Tensor& residual, const at::Tensor& x, const Weight& weight) {
  return at::addmm(residual, x, weight.value.t());
}

at::Tensor input_grad(const at::Tensor& grad, const Weight& weight) {
  return at::mm(grad, weight.value);
}

void weight_grad(const at::Tensor& grad, const at::Tensor& x, Weight& weight) {
  if (weight.grad.scalar_type() == x.scalar_type()) {
    weight.grad.addmm_(grad.t(), x);
  } else {
    weight.grad.add_(at::mm(grad.t(), x));
  }
}

}  // namespace infinipipe::linear
