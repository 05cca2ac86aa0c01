// Attention of a chunk block by block on ATen's flash kernels: for GPUs. The CPU's block lets tests
// run the same without one.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/common/attention/attention.h"

namespace infinipipe::attention_block {

// As attention_forward and attention_backward (attention.h). Slices without a context that stand
// side by side are one call. One with a context takes at most path.attention_keys keys of it in a
// call.
AttentionResult forward(const ComputePath& path, const kernels::Heads& heads,
                        const kernels::QueryKeyValue& inputs,
                        std::span<const AttentionSlice> slices);
kernels::QueryKeyValue backward(const ComputePath& path, const kernels::Heads& heads,
                                const at::Tensor& output_grad, const kernels::QueryKeyValue& saved,
                                const AttentionResult& result, std::span<AttentionSlice> slices);

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

// Whole sequences one after the other, each causal and on its own: the i-th is rows [bounds[i],
// bounds[i + 1]) of all three tensors. Only bfloat16 on a GPU has a call for them.
struct Packed {
  at::Tensor query;
  at::Tensor key;
  at::Tensor value;
  std::vector<std::int64_t> bounds;
};
bool has_packed_call(const Packed& packed);
Forward forward_packed_cuda(const Packed& packed);
Backward backward_packed_cuda(const Packed& packed, const Forward& joined,
                              const at::Tensor& output_grad);

}  // namespace infinipipe::attention_block
