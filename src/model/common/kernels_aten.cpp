#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "model/common/kernels.h"
#include "model/common/parameters.h"

namespace infinipipe::kernels {

at::Tensor rope_table(std::int64_t positions, const RopeFrequencies& frequencies,
                      const at::TensorOptions& options) {
  const auto exact = at::TensorOptions().dtype(at::kDouble);
  const at::Tensor inverse =
      at::empty({static_cast<std::int64_t>(frequencies.inverse.size())}, exact);
  std::copy(frequencies.inverse.begin(), frequencies.inverse.end(),
            inverse.mutable_data_ptr<double>());
  const at::Tensor angle = at::outer(at::arange(positions, exact), inverse);
  return at::cat({angle.cos(), angle.sin()}, 1).mul_(frequencies.attention_factor).to(options);
}

namespace composed {

namespace {

at::Tensor widen(const at::Tensor& x) { return x.to(accumulate_dtype(x.scalar_type())); }

struct Angles {
  at::Tensor cos;  // [T, 1, dim / 2]
  at::Tensor sin;
};

Angles angles(const at::Tensor& positions, const at::Tensor& table) {
  const at::Tensor rows = table.index_select(0, positions).unsqueeze(1);
  const std::int64_t half = table.size(1) / 2;
  return {rows.narrow(2, 0, half), rows.narrow(2, half, half)};
}

// Rotates [T, heads * dim] by the angles; direction -1 rotates back.
at::Tensor rotate(const at::Tensor& x, std::int64_t dim, const Angles& by, double direction) {
  const at::Tensor split = widen(x).reshape({x.size(0), x.size(1) / dim, 2, dim / 2});
  const at::Tensor first = split.select(2, 0), second = split.select(2, 1);
  const at::Tensor sine = by.sin * direction;
  return at::cat({first * by.cos - second * sine, second * by.cos + first * sine}, 2)
      .reshape(x.sizes());
}

}  // namespace

Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = widen(x);
  at::Tensor rstd = at::rsqrt(wide.pow(2).mean(-1) + eps);
  return {rms_norm_again(x, rstd, weight), rstd};
}

at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight) {
  return (widen(x) * rstd.unsqueeze(1) * weight).to(x.scalar_type());
}

void rms_norm_backward(at::Tensor& grad, const at::Tensor& x, const at::Tensor& rstd,
                       const at::Tensor& weight, const at::Tensor& residual,
                       at::Tensor& weight_grad) {
  const at::Tensor unit = widen(x) * rstd.unsqueeze(1);
  const at::Tensor wide = widen(grad);
  weight_grad.add_((wide * unit).sum(0));
  const at::Tensor scaled = wide * weight;
  at::Tensor result =
      (scaled - unit * (scaled * unit).mean(-1, /*keepdim=*/true)) * rstd.unsqueeze(1);
  if (residual.defined()) result += residual;
  grad.copy_(result);
}

QueryKeyValue rope_split(const at::Tensor& qkv, const at::Tensor& positions,
                         const at::Tensor& table, const Heads& heads) {
  const std::int64_t q = heads.query_width(), kv = heads.kv_width();
  const Angles by = angles(positions, table);
  const auto type = qkv.scalar_type();
  return {rotate(qkv.narrow(1, 0, q), heads.dim, by, 1.0).to(type),
          rotate(qkv.narrow(1, q, kv), heads.dim, by, 1.0).to(type),
          qkv.narrow(1, q + kv, kv).contiguous()};
}

at::Tensor rope_merge(const QueryKeyValue& grad, const at::Tensor& positions,
                      const at::Tensor& table, const Heads& heads, at::ScalarType dtype) {
  const Angles by = angles(positions, table);
  return at::cat({rotate(grad.query, heads.dim, by, -1.0).to(dtype),
                  rotate(grad.key, heads.dim, by, -1.0).to(dtype), grad.value.to(dtype)},
                 1);
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  const std::int64_t width = gate_up.size(1) / 2;
  const at::Tensor wide = widen(gate_up);
  return (at::silu(wide.narrow(1, 0, width)) * wide.narrow(1, width, width))
      .to(gate_up.scalar_type());
}

void swiglu_backward(at::Tensor& gate_up, at::Tensor& hidden_grad) {
  const std::int64_t width = gate_up.size(1) / 2;
  const at::Tensor gate = widen(gate_up.narrow(1, 0, width)).clone();
  const at::Tensor up = widen(gate_up.narrow(1, width, width)).clone();
  const at::Tensor wide = widen(hidden_grad).clone();
  const at::Tensor sigmoid = at::sigmoid(gate), silu = gate * sigmoid;
  hidden_grad.copy_(silu * up);
  gate_up.narrow(1, 0, width).copy_(wide * up * (sigmoid + silu * (1 - sigmoid)));
  gate_up.narrow(1, width, width).copy_(wide * silu);
}

at::Tensor cross_entropy(at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight,
                         double scale, bool gradient, at::Tensor* row_terms) {
  const at::Tensor wide = widen(logits);
  const at::Tensor counts = weight != 0;
  const at::Tensor safe = at::where(counts, target, at::zeros_like(target)).unsqueeze(1);
  const at::Tensor lse = at::logsumexp(wide, {1}, /*keepdim=*/true);
  const at::Tensor terms =
      (lse - wide.gather(1, safe)).squeeze(1).to(at::kDouble) * weight.to(at::kDouble);
  const at::Tensor counted = at::where(counts, terms, at::zeros_like(terms));
  at::Tensor loss = counted.sum();
  if (row_terms != nullptr) *row_terms = counted;
  if (gradient) {
    const at::Tensor row_scale = (weight.to(wide.scalar_type()) * scale).unsqueeze(1);
    at::Tensor result = (wide - lse).exp_().mul_(row_scale);
    result.scatter_add_(1, safe, -row_scale);
    logits.copy_(result);
  }
  return loss;
}

void embedding_backward(const at::Tensor& ids, const at::Tensor& rows_grad, at::Tensor& grad) {
  grad.index_add_(0, ids, rows_grad.to(grad.scalar_type()));
}

}  // namespace composed

}  // namespace infinipipe::kernels
