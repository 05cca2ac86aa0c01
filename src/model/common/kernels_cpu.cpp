#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "infinipipe/base/error.h"
#include "model/common/kernels.h"
#include "model/common/kernels_cpu_rows.h"
#include "model/common/parameters.h"

namespace infinipipe::kernels {

namespace {

// Calls body(Scalar{}, Acc{}) for the tensor's dtype.
template <class Body>
void dispatch(at::ScalarType type, const Body& body) {
  switch (type) {
    case at::kDouble:
      return body(double{}, double{});
    case at::kFloat:
      return body(float{}, float{});
    case at::kBFloat16:
      return body(c10::BFloat16{}, float{});
    default:
      INFINIPIPE_ASSERT(false, "a dtype without kernels");
  }
}

// Rows per task: enough work to be worth a thread, and a fixed number for what is summed over rows.
constexpr std::int64_t kGradRows = 256;

std::int64_t grain(std::int64_t columns) {
  return std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, columns));
}

template <class Rows>
void for_rows(const at::Tensor& x, const Rows& rows) {
  at::parallel_for(0, x.size(0), grain(x.size(1)), rows);
}

at::TensorOptions acc_options(const at::Tensor& x) {
  return x.options().dtype(accumulate_dtype(x.scalar_type()));
}

template <class In, class Out, class Acc>
void merge_rows(const QueryKeyValue& grad, const std::int64_t* position, const Acc* table,
                const Heads& heads, Out* out) {
  const std::int64_t q = heads.query_width(), kv = heads.kv_width(), half = heads.dim / 2;
  const In* query = grad.query.const_data_ptr<In>();
  const In* key = grad.key.const_data_ptr<In>();
  const In* value = grad.value.const_data_ptr<In>();
  at::parallel_for(0, grad.query.size(0), grain(q + 2 * kv), [&](auto begin, auto end) {
    for (auto i = begin; i < end; ++i) {
      const Acc* cos = table + position[i] * heads.dim;
      Out* row = out + i * (q + 2 * kv);
      rows::rotate(query + i * q, row, heads.query, heads.dim, cos, cos + half, Acc(-1));
      rows::rotate(key + i * kv, row + q, heads.key_value, heads.dim, cos, cos + half, Acc(-1));
      rows::convert(value + i * kv, row + q + kv, kv);
    }
  });
}

}  // namespace

Normed rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  Normed result{at::empty_like(x), at::empty({x.size(0)}, acc_options(x))};
  dispatch(x.scalar_type(), [&]<class Scalar, class Acc>(Scalar, Acc) {
    const auto* in = x.const_data_ptr<Scalar>();
    const auto* scale = weight.const_data_ptr<Acc>();
    auto* out = result.value.mutable_data_ptr<Scalar>();
    auto* rstd = result.rstd.mutable_data_ptr<Acc>();
    for_rows(x, [&](auto begin, auto end) {
      rows::rms_norm(in, scale, static_cast<Acc>(eps), x.size(1), begin, end, out, rstd);
    });
  });
  return result;
}

at::Tensor rms_norm_again(const at::Tensor& x, const at::Tensor& rstd, const at::Tensor& weight) {
  at::Tensor result = at::empty_like(x);
  dispatch(x.scalar_type(), [&]<class Scalar, class Acc>(Scalar, Acc) {
    const auto* in = x.const_data_ptr<Scalar>();
    const auto* scale = weight.const_data_ptr<Acc>();
    const auto* inverse = rstd.const_data_ptr<Acc>();
    auto* out = result.mutable_data_ptr<Scalar>();
    for_rows(x, [&](auto begin, auto end) {
      rows::rms_norm_again(in, inverse, scale, x.size(1), begin, end, out);
    });
  });
  return result;
}

void rms_norm_backward(at::Tensor& grad, const at::Tensor& x, const at::Tensor& rstd,
                       const at::Tensor& weight, const at::Tensor& residual,
                       at::Tensor& weight_grad) {
  dispatch(x.scalar_type(), [&]<class Scalar, class Acc>(Scalar, Acc) {
    const std::int64_t count = x.size(0), columns = x.size(1);
    const std::int64_t blocks = (count + kGradRows - 1) / kGradRows;
    auto* data = grad.mutable_data_ptr<Scalar>();
    const auto* in = x.const_data_ptr<Scalar>();
    const auto* inverse = rstd.const_data_ptr<Acc>();
    const auto* scale = weight.const_data_ptr<Acc>();
    const auto* rest = residual.defined() ? residual.const_data_ptr<Scalar>() : nullptr;
    const at::Tensor partial = at::zeros({blocks, columns}, acc_options(x));
    auto* sums = partial.mutable_data_ptr<Acc>();
    at::parallel_for(0, blocks, 1, [&](auto begin, auto end) {
      for (auto b = begin; b < end; ++b) {
        rows::rms_norm_backward(data, in, inverse, scale, rest, columns, b * kGradRows,
                                std::min(count, (b + 1) * kGradRows), sums + b * columns);
      }
    });
    auto* total = weight_grad.mutable_data_ptr<Acc>();
    for (std::int64_t b = 0; b < blocks; ++b) rows::add(sums + b * columns, total, columns);
  });
}

QueryKeyValue rope_split(const at::Tensor& qkv, const at::Tensor& positions,
                         const at::Tensor& table, const Heads& heads) {
  const std::int64_t count = qkv.size(0);
  const std::int64_t q = heads.query_width(), kv = heads.kv_width(), half = heads.dim / 2;
  QueryKeyValue result{at::empty({count, q}, qkv.options()), at::empty({count, kv}, qkv.options()),
                       at::empty({count, kv}, qkv.options())};
  const auto* position = positions.const_data_ptr<std::int64_t>();
  dispatch(qkv.scalar_type(), [&]<class Scalar, class Acc>(Scalar, Acc) {
    const auto* in = qkv.const_data_ptr<Scalar>();
    const auto* angles = table.const_data_ptr<Acc>();
    auto* query = result.query.mutable_data_ptr<Scalar>();
    auto* key = result.key.mutable_data_ptr<Scalar>();
    auto* value = result.value.mutable_data_ptr<Scalar>();
    for_rows(qkv, [&](auto begin, auto end) {
      for (auto i = begin; i < end; ++i) {
        const Acc* cos = angles + position[i] * heads.dim;
        const Scalar* row = in + i * (q + 2 * kv);
        rows::rotate(row, query + i * q, heads.query, heads.dim, cos, cos + half, Acc(1));
        rows::rotate(row + q, key + i * kv, heads.key_value, heads.dim, cos, cos + half, Acc(1));
        std::copy_n(row + q + kv, kv, value + i * kv);
      }
    });
  });
  return result;
}

at::Tensor rope_merge(const QueryKeyValue& grad, const at::Tensor& positions,
                      const at::Tensor& table, const Heads& heads, at::ScalarType dtype) {
  at::Tensor result = at::empty({grad.query.size(0), heads.query_width() + 2 * heads.kv_width()},
                                grad.query.options().dtype(dtype));
  const auto* position = positions.const_data_ptr<std::int64_t>();
  dispatch(dtype, [&]<class Scalar, class Acc>(Scalar, Acc) {
    const auto* angles = table.const_data_ptr<Acc>();
    auto* out = result.mutable_data_ptr<Scalar>();
    if (grad.query.scalar_type() == dtype) {
      merge_rows<Scalar>(grad, position, angles, heads, out);
    } else {
      merge_rows<Acc>(grad, position, angles, heads, out);
    }
  });
  return result;
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  const std::int64_t width = gate_up.size(1) / 2;
  at::Tensor result = at::empty({gate_up.size(0), width}, gate_up.options());
  dispatch(gate_up.scalar_type(), [&]<class Scalar, class Acc>(Scalar, Acc) {
    const auto* in = gate_up.const_data_ptr<Scalar>();
    auto* out = result.mutable_data_ptr<Scalar>();
    for_rows(gate_up, [&](auto begin, auto end) { rows::swiglu(in, width, begin, end, out); });
  });
  return result;
}

void swiglu_backward(at::Tensor& gate_up, at::Tensor& hidden_grad) {
  dispatch(gate_up.scalar_type(), [&]<class Scalar, class Acc>(Scalar, Acc) {
    auto* both = gate_up.mutable_data_ptr<Scalar>();
    auto* hidden = hidden_grad.mutable_data_ptr<Scalar>();
    for_rows(gate_up, [&](auto begin, auto end) {
      rows::swiglu_backward(both, hidden, gate_up.size(1) / 2, begin, end);
    });
  });
}

at::Tensor cross_entropy(at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight,
                         double scale, bool gradient, at::Tensor* row_terms) {
  const std::int64_t count = logits.size(0), vocabulary = logits.size(1);
  const auto* chosen = target.const_data_ptr<std::int64_t>();
  const at::Tensor exact = weight.to(at::kDouble);
  const auto* factor = exact.const_data_ptr<double>();
  std::vector<double> terms(static_cast<std::size_t>(count), 0.0);
  dispatch(logits.scalar_type(), [&]<class Scalar, class Acc>(Scalar, Acc) {
    auto* data = logits.mutable_data_ptr<Scalar>();
    for_rows(logits, [&](auto begin, auto end) {
      for (auto i = begin; i < end; ++i) {
        Scalar* row = data + i * vocabulary;
        if (factor[i] == 0.0) {
          if (gradient) std::fill_n(row, vocabulary, Scalar(0));
          continue;
        }
        INFINIPIPE_ASSERT(chosen[i] >= 0 && chosen[i] < vocabulary, "target outside vocabulary");
        const auto row_scale = static_cast<Acc>(gradient ? factor[i] * scale : 0.0);
        terms[static_cast<std::size_t>(i)] =
            factor[i] * rows::cross_entropy(row, chosen[i], row_scale, vocabulary);
      }
    });
  });
  double sum = 0.0;
  for (const double term : terms) sum += term;
  if (row_terms != nullptr) {
    *row_terms = at::empty({count}, at::dtype(at::kDouble));
    std::copy(terms.begin(), terms.end(), row_terms->mutable_data_ptr<double>());
  }
  return at::scalar_tensor(sum, at::dtype(at::kDouble));
}

void embedding_backward(const at::Tensor& ids, const at::Tensor& rows_grad, at::Tensor& grad) {
  const auto* id = ids.const_data_ptr<std::int64_t>();
  const std::int64_t count = rows_grad.size(0), columns = rows_grad.size(1);
  dispatch(rows_grad.scalar_type(), [&]<class Scalar, class Acc>(Scalar, Acc) {
    const auto* in = rows_grad.const_data_ptr<Scalar>();
    auto* out = grad.mutable_data_ptr<Acc>();
    // Columns are shared out, so that each sum has one owner and one order.
    at::parallel_for(0, columns, 64, [&](auto begin, auto end) {
      for (std::int64_t i = 0; i < count; ++i)
        rows::add(in + i * columns + begin, out + id[i] * columns + begin, end - begin);
    });
  });
}

}  // namespace infinipipe::kernels
