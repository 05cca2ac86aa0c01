#include "model/common/attention/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "model/common/attention/block.h"
#include "model/common/attention/tiled.h"
#include "model/common/parameters.h"

namespace infinipipe {

AttentionResult attention_forward(const ComputePath& path, const kernels::Heads& heads,
                                  const at::Tensor& query, const at::Tensor& key,
                                  const at::Tensor& value, std::span<const AttentionSlice> slices) {
  if (slices.empty())  // a sub-group of shards that has none of a chunk's sequences
    return {
        at::empty_like(query),
        at::empty({0, heads.query}, query.options().dtype(accumulate_dtype(query.scalar_type())))};
  return path.device ? attention_block::forward(path, heads, {query, key, value}, slices)
                     : attention_tiled::forward(heads, {query, key, value}, slices);
}

kernels::QueryKeyValue attention_backward(const ComputePath& path, const kernels::Heads& heads,
                                          const at::Tensor& output_grad,
                                          const kernels::QueryKeyValue& saved,
                                          const AttentionResult& result,
                                          std::span<AttentionSlice> slices) {
  if (slices.empty())
    return {at::empty_like(saved.query), at::empty_like(saved.key), at::empty_like(saved.value)};
  return path.device ? attention_block::backward(path, heads, output_grad, saved, result, slices)
                     : attention_tiled::backward(heads, output_grad, saved, result, slices);
}

}  // namespace infinipipe
