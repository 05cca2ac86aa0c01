// One attention block on a GPU: FlashAttention-2 for bfloat16 (its causal mask is bottom-right
// aligned, the same as top-left for the square blocks used here), the memory-efficient kernel for
// float32. Both are ATen operations, so that this file compiles without CUDA.
#include <ATen/ops/_efficient_attention_backward.h>
#include <ATen/ops/_efficient_attention_forward.h>
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "core/names.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/device.h"
#include "infinipipe/core/dtype.h"
#include "model/common/attention/block.h"
#include "model/common/to_device.h"

namespace infinipipe::attention_block {

namespace {

bool flash(const Inputs& inputs) { return inputs.query.scalar_type() == at::kBFloat16; }

// Of FlashAttention with packed sequences.
struct Bounds {
  at::Tensor begins;  // int32, on the device: where each begins, and the end
  std::int64_t longest = 0;
};

Bounds bounds_of(const Packed& packed) {
  Bounds bounds;
  for (std::size_t i = 0; i + 1 < packed.bounds.size(); ++i)
    bounds.longest = std::max(bounds.longest, packed.bounds[i + 1] - packed.bounds[i]);
  bounds.begins = to_device(at::tensor(packed.bounds, at::dtype(at::kInt)), packed.query.device());
  return bounds;
}

void check(const Inputs& inputs) {
  const auto type = inputs.query.scalar_type();
  if (type != at::kBFloat16 && type != at::kFloat) {
    throw InputError("runtime.device", "attention in " + std::string(toString(type)) + " on a GPU",
                     listed({to_string(Dtype::kFloat32), to_string(Dtype::kBfloat16)}),
                     "use runtime.device = \"" + std::string(to_string(Device::kCpu)) + "\" for " +
                         to_string(Dtype::kFloat64));
  }
}

// Repeats key or value heads for a kernel without grouped queries; sums them up again.
at::Tensor repeated(const at::Tensor& x, std::int64_t heads) {
  const std::int64_t group = heads / x.size(1);
  return group == 1 ? x : x.repeat_interleave(group, 1);
}
at::Tensor summed(const at::Tensor& x, std::int64_t heads) {
  if (x.size(1) == heads) return x;
  return x.reshape({x.size(0), heads, x.size(1) / heads, x.size(2)}).sum(2);
}

constexpr std::int64_t kCausalFromTopLeft = 1;  // custom_mask_type of the efficient kernel

}  // namespace

Forward forward_cuda(const Inputs& inputs) {
  check(inputs);
  const at::Tensor query = inputs.query.unsqueeze(0);
  if (flash(inputs)) {
    const auto result = at::_flash_attention_forward(
        query, inputs.key.unsqueeze(0), inputs.value.unsqueeze(0), {}, {}, inputs.query.size(0),
        inputs.key.size(0), /*dropout_p=*/0.0, inputs.causal, /*return_debug_mask=*/false);
    return {std::get<0>(result).squeeze(0), std::get<1>(result).squeeze(0).t()};
  }
  const std::int64_t heads = inputs.query.size(1);
  const auto result = at::_efficient_attention_forward(
      query, repeated(inputs.key, heads).unsqueeze(0), repeated(inputs.value, heads).unsqueeze(0),
      /*bias=*/{}, {}, {}, {}, {}, /*dropout_p=*/0.0, inputs.causal ? kCausalFromTopLeft : 0,
      /*compute_log_sumexp=*/true);
  // The kernel pads its log-sum-exp's rows.
  return {std::get<0>(result).squeeze(0),
          std::get<1>(result).squeeze(0).narrow(1, 0, inputs.query.size(0)).t()};
}

Backward backward_cuda(const Inputs& inputs, const Forward& joined, const at::Tensor& output_grad) {
  check(inputs);
  const std::int64_t queries = inputs.query.size(0), keys = inputs.key.size(0);
  const std::int64_t heads = inputs.query.size(1), kv_heads = inputs.key.size(1);
  const at::Tensor query = inputs.query.unsqueeze(0);
  const at::Tensor lse = joined.lse.t().contiguous().unsqueeze(0);
  const at::Tensor seed = at::zeros({2}, query.options().dtype(at::kLong));
  if (flash(inputs)) {
    const auto [dq, dk, dv] = at::_flash_attention_backward(
        output_grad.unsqueeze(0), query, inputs.key.unsqueeze(0), inputs.value.unsqueeze(0),
        joined.output.unsqueeze(0), lse, {}, {}, queries, keys, /*dropout_p=*/0.0, inputs.causal,
        seed, seed);
    return {dq.squeeze(0), dk.squeeze(0), dv.squeeze(0)};
  }
  // Rows of the log-sum-exp padded to a multiple of 32, as the forward of this kernel makes them: a
  // row that is not there has no weight.
  const std::int64_t padded = (queries + 31) / 32 * 32;
  at::Tensor rows =
      at::full({1, heads, padded}, std::numeric_limits<double>::infinity(), lse.options());
  rows.narrow(2, 0, queries).copy_(lse);
  const auto [dq, dk, dv, unused] = at::_efficient_attention_backward(
      output_grad.unsqueeze(0), query, repeated(inputs.key, heads).unsqueeze(0),
      repeated(inputs.value, heads).unsqueeze(0), /*bias=*/{}, joined.output.unsqueeze(0), {}, {},
      queries, keys, rows, /*dropout_p=*/0.0, seed.select(0, 0), seed.select(0, 1),
      inputs.causal ? kCausalFromTopLeft : 0, /*bias_requires_grad=*/false);
  return {dq.squeeze(0), summed(dk.squeeze(0), kv_heads), summed(dv.squeeze(0), kv_heads)};
}

bool has_packed_call(const Packed& packed) {
  return packed.query.is_cuda() && packed.query.scalar_type() == at::kBFloat16;
}

Forward forward_packed_cuda(const Packed& packed) {
  const Bounds bounds = bounds_of(packed);
  const auto result = at::_flash_attention_forward(
      packed.query, packed.key, packed.value, bounds.begins, bounds.begins, bounds.longest,
      bounds.longest, /*dropout_p=*/0.0, /*is_causal=*/true, /*return_debug_mask=*/false);
  return {std::get<0>(result), std::get<1>(result).t()};
}

Backward backward_packed_cuda(const Packed& packed, const Forward& joined,
                              const at::Tensor& output_grad) {
  const Bounds bounds = bounds_of(packed);
  const at::Tensor seed = at::zeros({2}, packed.query.options().dtype(at::kLong));
  const auto [dq, dk, dv] = at::_flash_attention_backward(
      output_grad, packed.query, packed.key, packed.value, joined.output,
      joined.lse.t().contiguous(), bounds.begins, bounds.begins, bounds.longest, bounds.longest,
      /*dropout_p=*/0.0, /*is_causal=*/true, seed, seed);
  return {dq, dk, dv};
}

}  // namespace infinipipe::attention_block
