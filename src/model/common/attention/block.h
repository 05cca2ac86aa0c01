// Attention of a chunk block by block on ATen's flash kernels: for GPUs. The CPU's block lets tests
// run the same joins without one.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "model/common/attention/attention.h"

namespace infinipipe::attention_block {

// As attention_forward and attention_backward (attention.h).
AttentionResult forward(const kernels::Heads& heads, const kernels::QueryKeyValue& inputs,
                        std::span<const AttentionSlice> slices);
kernels::QueryKeyValue backward(const kernels::Heads& heads, const at::Tensor& output_grad,
                                const kernels::QueryKeyValue& saved, const AttentionResult& result,
                                std::span<AttentionSlice> slices);

// One block: queries [S, H, d] against keys [N, KV heads, d]. Causal needs S == N.

struct Forward {
  at::Tensor output;  // [S, H, d] compute dtype
  at::Tensor lse;     // [S, H] acc
};
struct Backward {
  at::Tensor query;  // [S, H, d], compute dtype
  at::Tensor key;    // [N, KV heads, d]
  at::Tensor value;
};
struct Inputs {
  at::Tensor query;
  at::Tensor key;
  at::Tensor value;
  bool causal = false;
};

Forward forward_cpu(const Inputs& inputs);
Backward backward_cpu(const Inputs& inputs, const Forward& joined, const at::Tensor& output_grad);
Forward forward_cuda(const Inputs& inputs);
Backward backward_cuda(const Inputs& inputs, const Forward& joined, const at::Tensor& output_grad);

}  // namespace infinipipe::attention_block
