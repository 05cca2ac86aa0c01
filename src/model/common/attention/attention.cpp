#include "model/common/attention/attention.h"

#include "model/common/attention/block.h"
#include "model/common/attention/tiled.h"

namespace infinipipe {

AttentionResult attention_forward(const ComputePath& path, const kernels::Heads& heads,
                                  const at::Tensor& query, const at::Tensor& key,
                                  const at::Tensor& value, std::span<const AttentionSlice> slices) {
  return path.device ? attention_block::forward(path, heads, {query, key, value}, slices)
                     : attention_tiled::forward(heads, {query, key, value}, slices);
}

kernels::QueryKeyValue attention_backward(const ComputePath& path, const kernels::Heads& heads,
                                          const at::Tensor& output_grad,
                                          const kernels::QueryKeyValue& saved,
                                          const AttentionResult& result,
                                          std::span<AttentionSlice> slices) {
  return path.device ? attention_block::backward(path, heads, output_grad, saved, result, slices)
                     : attention_tiled::backward(heads, output_grad, saved, result, slices);
}

}  // namespace infinipipe
