// Attention of a chunk on the CPU, on the loops of kernels.h; bfloat16 is widened there,
// tile by tile, so that what a call holds does not depend on its context.
// Against ATen's flash kernel it reads the context's blocks where they lie, adds their gradients in
// place, packs keys and values once for all query heads that share them, skips what the causal mask
// hides and runs all slices of a chunk at once.
#pragma once

#include <span>

#include "model/common/attention/attention.h"

namespace infinipipe::attention_tiled {

// As attention_forward and attention_backward (attention.h), for tensors on the CPU. Gradients are
// in the acc dtype.
AttentionResult forward(const kernels::Heads& heads, const kernels::QueryKeyValue& inputs,
                        std::span<const AttentionSlice> slices);
kernels::QueryKeyValue backward(const kernels::Heads& heads, const at::Tensor& output_grad,
                                const kernels::QueryKeyValue& saved, const AttentionResult& result,
                                std::span<AttentionSlice> slices);

}  // namespace infinipipe::attention_tiled
