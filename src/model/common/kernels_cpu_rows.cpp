#include "model/common/kernels_cpu_rows.h"

#include <algorithm>
#include <limits>
#include <numbers>
#include <type_traits>

#include "model/common/vector_math.h"

namespace infinipipe::kernels::rows {

namespace {

template <class Scalar, class Acc>
INFINIPIPE_INLINE void normed_row(const Scalar* __restrict x, Acc rstd,
                                  const Acc* __restrict weight, std::int64_t columns,
                                  Scalar* __restrict out) {
  for (std::int64_t j = 0; j < columns; ++j) store(out[j], load(x[j]) * rstd * weight[j]);
}

template <class Scalar, class Acc>
INFINIPIPE_INLINE void rms_norm_body(const Scalar* x, const Acc* weight, Acc eps,
                                     std::int64_t columns, std::int64_t begin, std::int64_t end,
                                     Scalar* out, Acc* rstd) {
  for (std::int64_t i = begin; i < end; ++i) {
    const Scalar* row = x + i * columns;
    const Acc squares =
        lane_sum<Acc>(columns, [row](std::int64_t j) { return load(row[j]) * load(row[j]); });
    rstd[i] = Acc(1) / std::sqrt(squares / static_cast<Acc>(columns) + eps);
    normed_row(row, rstd[i], weight, columns, out + i * columns);
  }
}

template <class Scalar, class Acc>
INFINIPIPE_INLINE void rms_norm_again_body(const Scalar* x, const Acc* rstd, const Acc* weight,
                                           std::int64_t columns, std::int64_t begin,
                                           std::int64_t end, Scalar* out) {
  for (std::int64_t i = begin; i < end; ++i)
    normed_row(x + i * columns, rstd[i], weight, columns, out + i * columns);
}

// With u = x rstd and g = grad weight: dx = rstd (g - u mean(g u)), dweight += grad u.
template <bool kResidual, class Scalar, class Acc>
INFINIPIPE_INLINE void norm_grad_row(Scalar* __restrict grad, const Scalar* __restrict x, Acc rstd,
                                     const Acc* __restrict weight,
                                     const Scalar* __restrict residual, std::int64_t columns,
                                     Acc* __restrict weight_grad) {
  const Acc dot = lane_sum<Acc>(
      columns, [=](std::int64_t j) { return load(grad[j]) * weight[j] * load(x[j]); });
  const Acc mean = dot * rstd / static_cast<Acc>(columns);
  for (std::int64_t j = 0; j < columns; ++j) {
    const Acc unit = load(x[j]) * rstd;
    const Acc incoming = load(grad[j]);
    weight_grad[j] += incoming * unit;
    Acc result = rstd * (incoming * weight[j] - unit * mean);
    if constexpr (kResidual) result += load(residual[j]);
    store(grad[j], result);
  }
}

template <class Scalar, class Acc>
INFINIPIPE_INLINE void rms_norm_backward_body(Scalar* grad, const Scalar* x, const Acc* rstd,
                                              const Acc* weight, const Scalar* residual,
                                              std::int64_t columns, std::int64_t begin,
                                              std::int64_t end, Acc* weight_grad) {
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t at = i * columns;
    if (residual != nullptr) {
      norm_grad_row<true>(grad + at, x + at, rstd[i], weight, residual + at, columns, weight_grad);
    } else {
      norm_grad_row<false>(grad + at, x + at, rstd[i], weight, residual, columns, weight_grad);
    }
  }
}

template <class Scalar>
INFINIPIPE_INLINE void swiglu_body(const Scalar* gate_up, std::int64_t width, std::int64_t begin,
                                   std::int64_t end, Scalar* out) {
  for (std::int64_t i = begin; i < end; ++i) {
    const Scalar* __restrict gate = gate_up + i * 2 * width;
    const Scalar* __restrict up = gate + width;
    Scalar* __restrict row = out + i * width;
    for (std::int64_t j = 0; j < width; ++j) {
      const auto g = load(gate[j]);
      store(row[j], g / (1 + exponential(-g)) * load(up[j]));
    }
  }
}

template <class Scalar>
INFINIPIPE_INLINE void swiglu_backward_body(Scalar* gate_up, Scalar* hidden_grad,
                                            std::int64_t width, std::int64_t begin,
                                            std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) {
    Scalar* __restrict gate = gate_up + i * 2 * width;
    Scalar* __restrict up = gate + width;
    Scalar* __restrict hidden = hidden_grad + i * width;
    for (std::int64_t j = 0; j < width; ++j) {
      const auto g = load(gate[j]);
      const auto u = load(up[j]);
      const auto incoming = load(hidden[j]);
      const auto denominator = 1 + exponential(-g);
      const auto silu = g / denominator;
      const auto sigmoid = 1 / denominator;
      store(hidden[j], silu * u);
      store(gate[j], incoming * u * (sigmoid + silu * (1 - sigmoid)));
      store(up[j], incoming * silu);
    }
  }
}

template <class Scalar, class Acc>
INFINIPIPE_INLINE double cross_entropy_body(Scalar* logits, std::int64_t target, Acc scale,
                                            std::int64_t columns) {
  const Acc top = lane_max<Acc>(columns, -std::numeric_limits<Acc>::infinity(),
                                [=](std::int64_t k) { return load(logits[k]); });
  const Acc chosen = load(logits[target]);
  const Acc sum = lane_sum<Acc>(columns, [=](std::int64_t k) {
    return exponential(static_cast<Acc>(load(logits[k]) - top));
  });
  const double loss =
      static_cast<double>(top) - static_cast<double>(chosen) + std::log(static_cast<double>(sum));
  if (scale != 0) {
    const Acc factor = scale / sum;
    for (std::int64_t k = 0; k < columns; ++k)
      store(logits[k], exponential(static_cast<Acc>(load(logits[k]) - top)) * factor);
    store(logits[target], exponential(static_cast<Acc>(chosen - top)) * factor - scale);
  }
  return loss;
}

template <class In, class Out, class Acc>
INFINIPIPE_INLINE void rotate_body(const In* in, Out* out, std::int64_t heads, std::int64_t dim,
                                   const Acc* __restrict cos, const Acc* __restrict sin,
                                   Acc direction) {
  const std::int64_t half = dim / 2;
  for (std::int64_t h = 0; h < heads; ++h) {
    const In* __restrict first = in + h * dim;
    const In* __restrict second = first + half;
    Out* __restrict first_out = out + h * dim;
    Out* __restrict second_out = first_out + half;
    for (std::int64_t j = 0; j < half; ++j) {
      const Acc a = load(first[j]), b = load(second[j]), s = sin[j] * direction;
      store(first_out[j], a * cos[j] - b * s);
      store(second_out[j], b * cos[j] + a * s);
    }
  }
}

template <class In, class Out>
INFINIPIPE_INLINE void convert_body(const In* __restrict in, Out* __restrict out,
                                    std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) store(out[i], load(in[i]));
}

template <class In, class Out>
INFINIPIPE_INLINE void add_body(const In* __restrict in, Out* __restrict out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) store(out[i], load(out[i]) + load(in[i]));
}

}  // namespace

#define INFINIPIPE_DEFINE_ROWS(Scalar, Acc)                                                        \
  INFINIPIPE_CLONED void rms_norm(const Scalar* x, const Acc* weight, Acc eps,                     \
                                  std::int64_t columns, std::int64_t begin, std::int64_t end,      \
                                  Scalar* out, Acc* rstd) {                                        \
    rms_norm_body(x, weight, eps, columns, begin, end, out, rstd);                                 \
  }                                                                                                \
  INFINIPIPE_CLONED void rms_norm_again(const Scalar* x, const Acc* rstd, const Acc* weight,       \
                                        std::int64_t columns, std::int64_t begin,                  \
                                        std::int64_t end, Scalar* out) {                           \
    rms_norm_again_body(x, rstd, weight, columns, begin, end, out);                                \
  }                                                                                                \
  INFINIPIPE_CLONED void rms_norm_backward(                                                        \
      Scalar* grad, const Scalar* x, const Acc* rstd, const Acc* weight, const Scalar* residual,   \
      std::int64_t columns, std::int64_t begin, std::int64_t end, Acc* weight_grad) {              \
    rms_norm_backward_body(grad, x, rstd, weight, residual, columns, begin, end, weight_grad);     \
  }                                                                                                \
  INFINIPIPE_CLONED void swiglu(const Scalar* gate_up, std::int64_t width, std::int64_t begin,     \
                                std::int64_t end, Scalar* out) {                                   \
    swiglu_body(gate_up, width, begin, end, out);                                                  \
  }                                                                                                \
  INFINIPIPE_CLONED void swiglu_backward(Scalar* gate_up, Scalar* hidden_grad, std::int64_t width, \
                                         std::int64_t begin, std::int64_t end) {                   \
    swiglu_backward_body(gate_up, hidden_grad, width, begin, end);                                 \
  }                                                                                                \
  INFINIPIPE_CLONED double cross_entropy(Scalar* logits, std::int64_t target, Acc scale,           \
                                         std::int64_t columns) {                                   \
    return cross_entropy_body(logits, target, scale, columns);                                     \
  }

INFINIPIPE_DEFINE_ROWS(double, double)
INFINIPIPE_DEFINE_ROWS(float, float)
INFINIPIPE_DEFINE_ROWS(c10::BFloat16, float)

#define INFINIPIPE_DEFINE_ROTATE(In, Out, Acc)                                                \
  INFINIPIPE_CLONED void rotate(const In* in, Out* out, std::int64_t heads, std::int64_t dim, \
                                const Acc* cos, const Acc* sin, Acc direction) {              \
    rotate_body(in, out, heads, dim, cos, sin, direction);                                    \
  }                                                                                           \
  INFINIPIPE_CLONED void convert(const In* in, Out* out, std::int64_t count) {                \
    convert_body(in, out, count);                                                             \
  }                                                                                           \
  INFINIPIPE_CLONED void add(const In* in, Out* out, std::int64_t count) {                    \
    add_body(in, out, count);                                                                 \
  }

INFINIPIPE_DEFINE_ROTATE(double, double, double)
INFINIPIPE_DEFINE_ROTATE(float, float, float)
INFINIPIPE_DEFINE_ROTATE(c10::BFloat16, c10::BFloat16, float)
INFINIPIPE_DEFINE_ROTATE(float, c10::BFloat16, float)
INFINIPIPE_DEFINE_ROTATE(c10::BFloat16, float, float)

}  // namespace infinipipe::kernels::rows
