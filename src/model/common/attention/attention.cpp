#include "model/common/attention/attention.h"

#include <utility>

#include "model/common/attention/block.h"
#include "model/common/attention/tiled.h"
#include "model/common/linear.h"

namespace infinipipe {

namespace {

// The tiled kernel serves the CPU, bfloat16 only where that has no instructions of its own.
bool tiled(const at::Tensor& query) {
  return query.device().is_cpu() &&
         (query.scalar_type() != at::kBFloat16 || linear::widened(query));
}

kernels::QueryKeyValue widen(const kernels::QueryKeyValue& inputs) {
  return {inputs.query.to(at::kFloat), inputs.key.to(at::kFloat), inputs.value.to(at::kFloat)};
}

// Slices whose contexts are float32 copies; the accumulators, float32 anyway, are the blocks' own.
struct WidenedSlices {
  std::vector<AttentionSlice> slices;
  std::vector<std::vector<KvBlock>> contexts;

  explicit WidenedSlices(std::span<const AttentionSlice> narrow)
      : slices(narrow.begin(), narrow.end()) {
    for (AttentionSlice& slice : slices) {
      contexts.emplace_back(slice.context.begin(), slice.context.end());
      for (KvBlock& block : contexts.back()) {
        block.key = block.key.to(at::kFloat);
        block.value = block.value.to(at::kFloat);
      }
    }
    for (std::size_t i = 0; i < slices.size(); ++i) slices[i].context = contexts[i];
  }
  // Hands accumulators that came alive to the blocks they belong to.
  void give_back(std::span<AttentionSlice> narrow) {
    for (std::size_t i = 0; i < slices.size(); ++i) {
      for (std::size_t j = 0; j < contexts[i].size(); ++j) {
        narrow[i].context[j].key_grad = std::move(contexts[i][j].key_grad);
        narrow[i].context[j].value_grad = std::move(contexts[i][j].value_grad);
      }
    }
  }
};

}  // namespace

AttentionResult attention_forward(const kernels::Heads& heads, const at::Tensor& query,
                                  const at::Tensor& key, const at::Tensor& value,
                                  std::span<const AttentionSlice> slices) {
  if (!tiled(query)) return attention_block::forward(heads, {query, key, value}, slices);
  if (!linear::widened(query)) return attention_tiled::forward(heads, {query, key, value}, slices);
  const WidenedSlices wide(slices);
  AttentionResult result = attention_tiled::forward(heads, widen({query, key, value}), wide.slices);
  result.output = result.output.to(query.scalar_type());
  return result;
}

kernels::QueryKeyValue attention_backward(const kernels::Heads& heads,
                                          const at::Tensor& output_grad,
                                          const kernels::QueryKeyValue& saved,
                                          const AttentionResult& result,
                                          std::span<AttentionSlice> slices) {
  if (!tiled(saved.query))
    return attention_block::backward(heads, output_grad, saved, result, slices);
  if (!linear::widened(saved.query))
    return attention_tiled::backward(heads, output_grad, saved, result, slices);
  WidenedSlices wide(slices);
  const kernels::QueryKeyValue grad =
      attention_tiled::backward(heads, output_grad.to(at::kFloat), widen(saved),
                                {result.output.to(at::kFloat), result.lse}, wide.slices);
  wide.give_back(slices);
  return grad;
}

}  // namespace infinipipe
