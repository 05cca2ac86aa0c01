// The optimizer's loops as a GPU runs them (ComputePath::device): fused kernels where there are
// launchers and the tensors are float32, ATen operations for all else. The same formulas; bits may
// differ from the processor's. `launchers` may be null; theirs must be of the tensors' device.
// Where no fused kernel serves, a few temporaries of kBlockElements elements at most.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "model/common/fused/launchers.h"
#include "runtime/optimizer_loops.h"

namespace infinipipe::device_loops {

inline constexpr std::int64_t kBlockElements = std::int64_t{1} << 22;

// loops::adamw on whole tensors of one shape and dtype, float32 or float64, in place. `copy` of
// another dtype, if defined, gets the new weights.
void adamw(const fused::Launchers* launchers, const at::Tensor& weight, const at::Tensor& grad,
           const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq, const at::Tensor& copy,
           const loops::AdamWNumbers& numbers);

// The sum of all tensors' in float64, in a fixed order. Waits for the device once.
double sum_of_squares(const fused::Launchers* launchers, std::span<const at::Tensor> tensors);

}  // namespace infinipipe::device_loops
