// Attention of a chunk on the CPU in float32 or float64: tiles of queries and keys, each a small
// matrix product by the BLAS inside LibTorch. Against ATen's flash kernel it reads the context's
// blocks where they lie, adds their gradients in place, skips what the causal mask hides (half of
// the work of short sequences) and runs all slices of a chunk at once.
// Source: the tiling and the backward of FlashAttention-2 (Dao 2023).
#pragma once

#include <span>

#include "model/attention.h"

namespace infinipipe::attention_tiled {

// False where LibTorch brings no BLAS that can be called; then the block path serves.
bool available();

// As attention_forward and attention_backward (attention.h), for tensors of float32 or float64.
AttentionResult forward(const kernels::Heads& heads, const kernels::QueryKeyValue& inputs,
                        std::span<const AttentionSlice> slices);
kernels::QueryKeyValue backward(const kernels::Heads& heads, const at::Tensor& output_grad,
                                const kernels::QueryKeyValue& saved, const AttentionResult& result,
                                std::span<AttentionSlice> slices);

}  // namespace infinipipe::attention_tiled
