// Causal attention of a chunk's slices: each slice attends to itself (causal) and to the stored
// blocks of its sequence before it; slices of one chunk never see each other. With Heads::window a
// query sees that many keys at most, itself included, and work on others is left out. Scores are
// never materialised as a whole.
//
// A slice with context is computed piece by piece: causal pieces (own keys) and full ones (stored
// keys), joined by their log-sum-exps; the backward runs each piece with the joined output and
// log-sum-exp, so that its parts just add up. Two implementations: tiled.h is the processor's,
// block.h a GPU's.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/common/compute_path.h"
#include "model/common/kernels.h"
#include "model/common/kv_store.h"

namespace infinipipe {

struct AttentionSlice {
  std::int64_t begin = 0;  // rows of the chunk
  std::int64_t end = 0;
  std::span<KvBlock> context;  // covers all earlier tokens that a query sees; ends at the slice
  at::Tensor key_grad;         // what later slices added for this slice's keys; undefined: nothing
  at::Tensor value_grad;
};

struct AttentionResult {
  at::Tensor output;  // [T, Q] compute dtype
  at::Tensor lse;     // [T, H] acc
};

// query [T, Q], key and value [T, KV] after RoPE; slices cover the T rows.
AttentionResult attention_forward(const ComputePath& path, const kernels::Heads& heads,
                                  const at::Tensor& query, const at::Tensor& key,
                                  const at::Tensor& value, std::span<const AttentionSlice> slices);

// Gradients of the chunk's own query, key and value, in the compute or the acc dtype, with what
// later slices added. Adds to the gradients of the context blocks (acc).
kernels::QueryKeyValue attention_backward(const ComputePath& path, const kernels::Heads& heads,
                                          const at::Tensor& output_grad,
                                          const kernels::QueryKeyValue& saved,
                                          const AttentionResult& result,
                                          std::span<AttentionSlice> slices);

}  // namespace infinipipe
