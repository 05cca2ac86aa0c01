// Attention of a chunk on the CPU in float32 or float64, on the loops of kernels.h.
// Against ATen's flash kernel it reads the context's blocks where they lie, adds their gradients in
// place, packs keys and values once for all query heads that share them, skips what the causal mask
// hides and runs all slices of a chunk at once.
#pragma once

#include <span>

#include "model/common/attention/attention.h"

namespace infinipipe::attention_tiled {

// As attention_forward and attention_backward (attention.h), for tensors of float32 or float64.
AttentionResult forward(const kernels::Heads& heads, const kernels::QueryKeyValue& inputs,
                        std::span<const AttentionSlice> slices);
kernels::QueryKeyValue backward(const kernels::Heads& heads, const at::Tensor& output_grad,
                                const kernels::QueryKeyValue& saved, const AttentionResult& result,
                                std::span<AttentionSlice> slices);

}  // namespace infinipipe::attention_tiled
