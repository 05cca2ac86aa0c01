// The optimizer's loops as ATen operations, for tensors that are not in the processor's memory.
#pragma once

#include <ATen/core/Tensor.h>

#include "runtime/optimizer_loops.h"

namespace infinipipe::device_loops {

// loops::adamw on whole tensors of one shape and dtype, float32 or float64, in place. The same
// formula; bits may differ from the processor's. One temporary of the gradient's size.
void adamw(const at::Tensor& weight, const at::Tensor& grad, const at::Tensor& exp_avg,
           const at::Tensor& exp_avg_sq, const loops::AdamWNumbers& numbers);

// In float64. Waits for the device.
double sum_of_squares(const at::Tensor& tensor);

}  // namespace infinipipe::device_loops
