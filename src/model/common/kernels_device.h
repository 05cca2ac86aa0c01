// The kernels of kernels.h as a GPU runs them (ComputePath::device): fused ones where there are
// launchers and they serve the shapes, composed ATen operations for all else.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/common/fused/launchers.h"
#include "model/common/kernels.h"

namespace infinipipe::kernels::on_device {

// As those of kernels.h. `launchers` may be null; theirs must be of the tensors' device.
using Launchers = fused::Launchers;
Normed rms_norm(const Launchers* launchers, const at::Tensor& x, const at::Tensor& weight,
                double eps);
at::Tensor rms_norm_again(const Launchers* launchers, const at::Tensor& x, const at::Tensor& rstd,
                          const at::Tensor& weight);
void rms_norm_backward(const Launchers* launchers, at::Tensor& grad, const at::Tensor& x,
                       const at::Tensor& rstd, const at::Tensor& weight, const at::Tensor& residual,
                       at::Tensor& weight_grad);
QueryKeyValue rope_split(const Launchers* launchers, const at::Tensor& qkv,
                         const at::Tensor& positions, const at::Tensor& table, const Heads& heads);
at::Tensor rope_merge(const Launchers* launchers, const QueryKeyValue& grad,
                      const at::Tensor& positions, const at::Tensor& table, const Heads& heads,
                      at::ScalarType dtype);
at::Tensor swiglu(const Launchers* launchers, const at::Tensor& gate_up);
void swiglu_backward(const Launchers* launchers, at::Tensor& gate_up, at::Tensor& hidden_grad);
// A target outside the vocabulary makes the sum NaN where the fused kernel serves.
at::Tensor cross_entropy(const Launchers* launchers, at::Tensor& logits, const at::Tensor& target,
                         const at::Tensor& weight, double scale, bool gradient, at::Tensor* terms);

}  // namespace infinipipe::kernels::on_device
