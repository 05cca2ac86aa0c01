#include "model/common/attention/attention.h"

#include "model/common/attention/block.h"
#include "model/common/attention/tiled.h"

namespace infinipipe {

AttentionResult attention_forward(const kernels::Heads& heads, const at::Tensor& query,
                                  const at::Tensor& key, const at::Tensor& value,
                                  std::span<const AttentionSlice> slices) {
  return query.device().is_cpu() ? attention_tiled::forward(heads, {query, key, value}, slices)
                                 : attention_block::forward(heads, {query, key, value}, slices);
}

kernels::QueryKeyValue attention_backward(const kernels::Heads& heads,
                                          const at::Tensor& output_grad,
                                          const kernels::QueryKeyValue& saved,
                                          const AttentionResult& result,
                                          std::span<AttentionSlice> slices) {
  return saved.query.device().is_cpu()
             ? attention_tiled::backward(heads, output_grad, saved, result, slices)
             : attention_block::backward(heads, output_grad, saved, result, slices);
}

}  // namespace infinipipe
