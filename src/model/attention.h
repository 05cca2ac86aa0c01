// Causal attention of a chunk's slices: each slice attends to itself (causal) and to the stored
// blocks of its sequence before it; slices of one chunk never see each other. Scores are never
// materialised as a whole.
//
// A slice with context is computed piece by piece: causal pieces (own keys) and full ones (stored
// keys), joined by their log-sum-exps; the backward runs each piece with the joined output and
// log-sum-exp, so that its parts just add up. Two implementations: attention_tiled.h, and
// attention_block below.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/kernels.h"
#include "model/kv_store.h"

namespace infinipipe {

struct AttentionSlice {
  std::int64_t begin = 0;  // rows of the chunk
  std::int64_t end = 0;
  std::span<KvBlock> context;  // covers all earlier tokens of the sequence
  at::Tensor key_grad;         // what later slices added for this slice's keys; undefined: nothing
  at::Tensor value_grad;
};

struct AttentionResult {
  at::Tensor output;  // [T, Q] compute dtype
  at::Tensor lse;     // [T, H] acc
};

// query [T, Q], key and value [T, KV] after RoPE; slices cover the T rows.
AttentionResult attention_forward(const kernels::Heads& heads, const at::Tensor& query,
                                  const at::Tensor& key, const at::Tensor& value,
                                  std::span<const AttentionSlice> slices);

// Gradients of the chunk's own query, key and value, in the compute or the acc dtype, with what
// later slices added. Adds to the gradients of the context blocks (acc).
kernels::QueryKeyValue attention_backward(const kernels::Heads& heads,
                                          const at::Tensor& output_grad,
                                          const kernels::QueryKeyValue& saved,
                                          const AttentionResult& result,
                                          std::span<AttentionSlice> slices);

// Block by block on ATen's flash kernels: for GPUs.
namespace attention_block {

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

}  // namespace attention_block

}  // namespace infinipipe
