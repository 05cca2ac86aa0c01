// What one decoder layer keeps between a chunk's forward and its backward. A plain struct, so that
// it can be read and counted.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "infinipipe/core/keeping.h"

namespace infinipipe::decoder {

// Shapes: T tokens, D hidden, Q and KV widths of queries and of keys or values, H query heads, I
// intermediate size. Compute dtype, unless noted; "acc" is float64 for float64, else float32. Where
// shards share the chunk, T are this rank's tokens, but in query, key, value, attention and lse,
// which have all tokens and this rank's heads.
//
// How many numbers these are at each moment says core/layer_costs.h, where the planning half reads
// it too. Normed inputs and silu(gate) * up are cheap and made again in the backward.
// backward_input turns `query`, `key`, `value`, `attention`, `lse` into `qkv_grad`, and overwrites
// `gate_up` with its gradient, so that what backward_weight needs is never more than the forward
// kept.
struct LayerSaved {
  at::Tensor input;        // [T, D]; a layer of any level keeps it
  at::Tensor input_rstd;   // [T] acc
  at::Tensor query;        // [T, Q] after RoPE
  at::Tensor key;          // [T, KV] after RoPE
  at::Tensor value;        // [T, KV]
  at::Tensor attention;    // [T, Q]
  at::Tensor attended;     // [T, Q] of this rank's tokens, where shards share the chunk
  at::Tensor raw_query;    // [T, Q] before its norm, where queries and keys have one
  at::Tensor raw_key;      // [T, KV]
  at::Tensor lse;          // [T, H] acc, natural log of the softmax's denominator
  at::Tensor middle;       // [T, D] after the attention's residual
  at::Tensor middle_rstd;  // [T] acc
  at::Tensor gate_up;      // [T, 2 I]; after backward_input: its gradient
  at::Tensor qkv_grad;     // [T, Q + 2 KV]; after backward_input only

  // Bytes of all tensors present.
  std::int64_t bytes() const;
  // Drops what a layer of that level does not keep.
  void keep(Keep level);
};

}  // namespace infinipipe::decoder
