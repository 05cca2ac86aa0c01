#include "model/common/kernels_device.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <optional>

#include "model/common/fused/choose.h"
#include "model/common/fused/tensors.h"

namespace infinipipe::kernels::on_device {

namespace {

using fused::start;
using fused::type_of;

at::Tensor floats(at::IntArrayRef sizes, const at::Tensor& like) {
  return at::empty(sizes, like.options().dtype(at::kFloat));
}

bool serves_norm(const at::Tensor& x) {
  const auto type = type_of(x.scalar_type());
  return type && fused::serves_norm(*type, x.size(1));
}

// The norm's work on x without its outputs.
fused::RmsNormWork norm_work(const at::Tensor& x, const at::Tensor& weight,
                             const at::Tensor& value) {
  fused::RmsNormWork work;
  work.type = *type_of(x.scalar_type());
  work.x = x.const_data_ptr();
  work.weight = weight.const_data_ptr<float>();
  work.value = value.mutable_data_ptr();
  work.rows = x.size(0);
  work.columns = x.size(1);
  return work;
}

// What both directions of RoPE have in common; nothing where no kernel serves.
std::optional<fused::RopeWork> rope_work(at::ScalarType dtype, const at::Tensor& positions,
                                         const at::Tensor& table, const Heads& heads) {
  const auto type = type_of(dtype);
  if (!type || !fused::serves_rope(*type, heads.dim)) return std::nullopt;
  if (!fused::packed({table}) || !positions.is_contiguous()) return std::nullopt;
  return fused::RopeWork{.type = *type,
                         .grad_type = *type,
                         .positions = positions.const_data_ptr<std::int64_t>(),
                         .table = table.const_data_ptr<float>(),
                         .tokens = positions.size(0),
                         .query_heads = static_cast<int>(heads.query),
                         .kv_heads = static_cast<int>(heads.key_value),
                         .dim = static_cast<int>(heads.dim)};
}

bool serves_swiglu(const at::Tensor& gate_up) {
  const auto type = type_of(gate_up.scalar_type());
  return type && fused::serves_swiglu(*type, gate_up.size(1) / 2);
}

}  // namespace

Normed rms_norm(const Launchers* launchers, const at::Tensor& x, const at::Tensor& weight,
                double eps) {
  if (launchers == nullptr || !serves_norm(x) || !fused::packed({x, weight}))
    return composed::rms_norm(x, weight, eps);
  Normed result{at::empty_like(x), floats({x.size(0)}, x)};
  fused::RmsNormWork work = norm_work(x, weight, result.value);
  work.rstd = result.rstd.mutable_data_ptr<float>();
  work.eps = eps;
  start(launchers->rms_norm, work, x);
  return result;
}

at::Tensor rms_norm_again(const Launchers* launchers, const at::Tensor& x, const at::Tensor& rstd,
                          const at::Tensor& weight) {
  if (launchers == nullptr || !serves_norm(x) || !fused::packed({x, weight}))
    return composed::rms_norm_again(x, rstd, weight);
  at::Tensor value = at::empty_like(x);
  fused::RmsNormWork work = norm_work(x, weight, value);
  work.kept = rstd.const_data_ptr<float>();
  start(launchers->rms_norm, work, x);
  return value;
}

void rms_norm_backward(const Launchers* launchers, at::Tensor& grad, const at::Tensor& x,
                       const at::Tensor& rstd, const at::Tensor& weight, const at::Tensor& residual,
                       at::Tensor& weight_grad) {
  if (launchers == nullptr || !serves_norm(x) || !fused::packed({grad, x, weight, residual}) ||
      !weight_grad.is_contiguous())
    return composed::rms_norm_backward(grad, x, rstd, weight, residual, weight_grad);
  fused::RmsNormBackwardWork work;
  work.type = *type_of(x.scalar_type());
  work.grad = grad.mutable_data_ptr();
  work.x = x.const_data_ptr();
  work.rstd = rstd.const_data_ptr<float>();
  work.weight = weight.const_data_ptr<float>();
  work.residual = residual.defined() ? residual.const_data_ptr() : nullptr;
  work.weight_grad = weight_grad.mutable_data_ptr<float>();
  work.rows = x.size(0);
  work.columns = x.size(1);
  work.partials = fused::norm_partials(work.type, work.rows, work.columns);
  const at::Tensor partial = floats({work.partials, work.columns}, x);
  work.partial = partial.mutable_data_ptr<float>();
  start(launchers->rms_norm_backward, work, x);
}

QueryKeyValue rope_split(const Launchers* launchers, const at::Tensor& qkv,
                         const at::Tensor& positions, const at::Tensor& table, const Heads& heads) {
  const auto common = rope_work(qkv.scalar_type(), positions, table, heads);
  if (launchers == nullptr || !common || !fused::packed({qkv}))
    return composed::rope_split(qkv, positions, table, heads);
  const auto part = [&](std::int64_t width) {
    return at::empty({qkv.size(0), width}, qkv.options());
  };
  QueryKeyValue result{part(heads.query_width()), part(heads.kv_width()), part(heads.kv_width())};
  start(launchers->rope_split,
        fused::RopeSplitWork{*common, qkv.const_data_ptr(), result.query.mutable_data_ptr(),
                             result.key.mutable_data_ptr(), result.value.mutable_data_ptr()},
        qkv);
  return result;
}

at::Tensor rope_merge(const Launchers* launchers, const QueryKeyValue& grad,
                      const at::Tensor& positions, const at::Tensor& table, const Heads& heads,
                      at::ScalarType dtype) {
  const auto common = rope_work(dtype, positions, table, heads);
  const auto grad_type = type_of(grad.query.scalar_type());
  if (launchers == nullptr || !common || !grad_type ||
      !fused::packed({grad.query, grad.key, grad.value}))
    return composed::rope_merge(grad, positions, table, heads, dtype);
  at::Tensor result = at::empty({grad.query.size(0), heads.query_width() + 2 * heads.kv_width()},
                                grad.query.options().dtype(dtype));
  fused::RopeMergeWork work{*common, grad.query.const_data_ptr(), grad.key.const_data_ptr(),
                            grad.value.const_data_ptr(), result.mutable_data_ptr()};
  work.grad_type = *grad_type;
  start(launchers->rope_merge, work, result);
  return result;
}

at::Tensor swiglu(const Launchers* launchers, const at::Tensor& gate_up) {
  if (launchers == nullptr || !serves_swiglu(gate_up) || !fused::packed({gate_up}))
    return composed::swiglu(gate_up);
  const std::int64_t width = gate_up.size(1) / 2;
  at::Tensor result = at::empty({gate_up.size(0), width}, gate_up.options());
  start(launchers->swiglu,
        fused::SwigluWork{*type_of(gate_up.scalar_type()), gate_up.const_data_ptr(),
                          result.mutable_data_ptr(), gate_up.size(0), width},
        gate_up);
  return result;
}

void swiglu_backward(const Launchers* launchers, at::Tensor& gate_up, at::Tensor& hidden_grad) {
  if (launchers == nullptr || !serves_swiglu(gate_up) || !fused::packed({gate_up, hidden_grad}))
    return composed::swiglu_backward(gate_up, hidden_grad);
  start(launchers->swiglu_backward,
        fused::SwigluBackwardWork{*type_of(gate_up.scalar_type()), gate_up.mutable_data_ptr(),
                                  hidden_grad.mutable_data_ptr(), gate_up.size(0),
                                  gate_up.size(1) / 2},
        gate_up);
}

at::Tensor cross_entropy(const Launchers* launchers, at::Tensor& logits, const at::Tensor& target,
                         const at::Tensor& weight, double scale, bool gradient,
                         at::Tensor* row_terms) {
  const auto type = type_of(logits.scalar_type());
  if (launchers == nullptr || !type || !logits.is_contiguous() || !target.is_contiguous())
    return composed::cross_entropy(logits, target, weight, scale, gradient, row_terms);
  const std::int64_t rows = logits.size(0);
  const auto exact = logits.options().dtype(at::kDouble);
  const at::Tensor weights = weight.to(at::kDouble).contiguous();
  const at::Tensor terms = at::empty({rows}, exact);
  at::Tensor sum = at::empty({}, exact);
  fused::CrossEntropyWork work;
  work.type = *type;
  work.logits = logits.mutable_data_ptr();
  work.target = target.const_data_ptr<std::int64_t>();
  work.weight = weights.const_data_ptr<double>();
  work.terms = terms.mutable_data_ptr<double>();
  work.scale = scale;
  work.gradient = gradient;
  work.rows = rows;
  work.columns = logits.size(1);
  start(launchers->cross_entropy, work, logits);
  start(launchers->total, fused::TotalWork{work.terms, sum.mutable_data_ptr<double>(), rows},
        logits);
  if (row_terms != nullptr) *row_terms = terms;
  return sum;
}

}  // namespace infinipipe::kernels::on_device

namespace infinipipe::kernels {

Normed rms_norm(const ComputePath& path, const at::Tensor& x, const at::Tensor& weight,
                double eps) {
  return path.device ? on_device::rms_norm(path.launchers, x, weight, eps)
                     : rms_norm(x, weight, eps);
}

at::Tensor rms_norm_again(const ComputePath& path, const at::Tensor& x, const at::Tensor& rstd,
                          const at::Tensor& weight) {
  return path.device ? on_device::rms_norm_again(path.launchers, x, rstd, weight)
                     : rms_norm_again(x, rstd, weight);
}

void rms_norm_backward(const ComputePath& path, at::Tensor& grad, const at::Tensor& x,
                       const at::Tensor& rstd, const at::Tensor& weight, const at::Tensor& residual,
                       at::Tensor& weight_grad) {
  if (!path.device) return rms_norm_backward(grad, x, rstd, weight, residual, weight_grad);
  on_device::rms_norm_backward(path.launchers, grad, x, rstd, weight, residual, weight_grad);
}

QueryKeyValue rope_split(const ComputePath& path, const at::Tensor& qkv,
                         const at::Tensor& positions, const at::Tensor& table, const Heads& heads) {
  return path.device ? on_device::rope_split(path.launchers, qkv, positions, table, heads)
                     : rope_split(qkv, positions, table, heads);
}

at::Tensor rope_merge(const ComputePath& path, const QueryKeyValue& grad,
                      const at::Tensor& positions, const at::Tensor& table, const Heads& heads,
                      at::ScalarType dtype) {
  return path.device ? on_device::rope_merge(path.launchers, grad, positions, table, heads, dtype)
                     : rope_merge(grad, positions, table, heads, dtype);
}

at::Tensor swiglu(const ComputePath& path, const at::Tensor& gate_up) {
  return path.device ? on_device::swiglu(path.launchers, gate_up) : swiglu(gate_up);
}

void swiglu_backward(const ComputePath& path, at::Tensor& gate_up, at::Tensor& hidden_grad) {
  if (!path.device) return swiglu_backward(gate_up, hidden_grad);
  on_device::swiglu_backward(path.launchers, gate_up, hidden_grad);
}

at::Tensor cross_entropy(const ComputePath& path, at::Tensor& logits, const at::Tensor& target,
                         const at::Tensor& weight, double scale, bool gradient, at::Tensor* terms) {
  if (!path.device) return cross_entropy(logits, target, weight, scale, gradient, terms);
  return on_device::cross_entropy(path.launchers, logits, target, weight, scale, gradient, terms);
}

void embedding_backward(const ComputePath& path, const at::Tensor& ids, const at::Tensor& rows_grad,
                        at::Tensor& grad) {
  if (!path.device) return embedding_backward(ids, rows_grad, grad);
  composed::embedding_backward(ids, rows_grad, grad);
}

}  // namespace infinipipe::kernels
