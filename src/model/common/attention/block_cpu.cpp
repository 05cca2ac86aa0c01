// One attention block by ATen's flash kernel for CPUs. Its causal mask is top-left aligned, so it
// only serves square blocks here; full blocks have no mask.
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>

#include "infinipipe/base/error.h"
#include "model/common/attention/block.h"

namespace infinipipe::attention_block {

namespace {

// [S, H, d] -> [1, H, S, d], a view.
at::Tensor batched(const at::Tensor& x) { return x.unsqueeze(0).transpose(1, 2); }
at::Tensor unbatched(const at::Tensor& x) { return x.transpose(1, 2).squeeze(0); }

}  // namespace

Forward forward_cpu(const Inputs& inputs) {
  INFINIPIPE_ASSERT(!inputs.causal || inputs.query.size(0) == inputs.key.size(0),
                    "a causal block is square");
  const auto [output, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
      batched(inputs.query), batched(inputs.key), batched(inputs.value), /*dropout_p=*/0.0,
      inputs.causal);
  return {unbatched(output), lse.squeeze(0).t()};
}

Backward backward_cpu(const Inputs& inputs, const Forward& joined, const at::Tensor& output_grad) {
  const auto [query, key, value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      batched(output_grad), batched(inputs.query), batched(inputs.key), batched(inputs.value),
      batched(joined.output), joined.lse.t().unsqueeze(0), /*dropout_p=*/0.0, inputs.causal);
  return {unbatched(query), unbatched(key), unbatched(value)};
}

}  // namespace infinipipe::attention_block
