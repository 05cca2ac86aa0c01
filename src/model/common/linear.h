// Matrix products of the projections; weights are [out, in].
//
// bfloat16 on a CPU without instructions for it runs as float32 products on blocks of rows: several
// times faster than LibTorch's own fallback, and gradients are not rounded on their way. Nor are
// they on a GPU, whose products add up in float32.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/common/compute_path.h"
#include "model/common/parameters.h"

namespace infinipipe::linear {

// x [T, in] -> x W^T [T, out].
at::Tensor apply(const ComputePath& path, const at::Tensor& x, const Weight& weight);
// residual + x W^T.
at::Tensor apply_add(const ComputePath& path, const at::Tensor& residual, const at::Tensor& x,
                     const Weight& weight);
// grad [T, out] -> grad W [T, in].
at::Tensor input_grad(const ComputePath& path, const at::Tensor& grad, const Weight& weight);
// weight.grad += grad^T x. A native bfloat16 product of the processor is rounded once before it is
// added in float32.
void weight_grad(const ComputePath& path, const at::Tensor& grad, const at::Tensor& x,
                 Weight& weight);

// rows [T, out] += bias [out] acc.
void add_bias(at::Tensor& rows, const Weight& bias);
// bias.grad += the sum of grad's rows, in acc.
void bias_grad(const at::Tensor& grad, Weight& bias);

}  // namespace infinipipe::linear
