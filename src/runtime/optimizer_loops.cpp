#include "runtime/optimizer_loops.h"

#include <cmath>

#include "model/common/vector_math.h"

namespace infinipipe::loops {

namespace {

template <class Scalar>
INFINIPIPE_INLINE void adamw_body(Scalar* __restrict weight, const Scalar* __restrict grad,
                                  Scalar* __restrict exp_avg, Scalar* __restrict exp_avg_sq,
                                  std::int64_t count, const AdamWNumbers& numbers) {
  const auto factor = static_cast<Scalar>(numbers.factor);
  const auto beta1 = static_cast<Scalar>(numbers.beta1);
  const auto other1 = static_cast<Scalar>(1.0 - numbers.beta1);
  const auto beta2 = static_cast<Scalar>(numbers.beta2);
  const auto other2 = static_cast<Scalar>(1.0 - numbers.beta2);
  const auto eps = static_cast<Scalar>(numbers.eps);
  const auto keep = static_cast<Scalar>(numbers.keep);
  const auto rate = static_cast<Scalar>(numbers.rate);
  const auto root = static_cast<Scalar>(numbers.root);
  for (std::int64_t i = 0; i < count; ++i) {
    const Scalar g = grad[i] * factor;
    const Scalar m = beta1 * exp_avg[i] + other1 * g;
    const Scalar v = beta2 * exp_avg_sq[i] + other2 * g * g;
    exp_avg[i] = m;
    exp_avg_sq[i] = v;
    weight[i] = weight[i] * keep - rate * m / (std::sqrt(v) * root + eps);
  }
}

template <class Scalar>
INFINIPIPE_INLINE double squares_body(const Scalar* data, std::int64_t count) {
  return kernels::lane_sum<double>(count, [data](std::int64_t i) {
    const auto x = static_cast<double>(data[i]);
    return x * x;
  });
}

}  // namespace

#define INFINIPIPE_DEFINE_LOOPS(Scalar)                                             \
  INFINIPIPE_CLONED void adamw(Scalar* weight, const Scalar* grad, Scalar* exp_avg, \
                               Scalar* exp_avg_sq, std::int64_t count,              \
                               const AdamWNumbers& numbers) {                       \
    adamw_body(weight, grad, exp_avg, exp_avg_sq, count, numbers);                  \
  }                                                                                 \
  INFINIPIPE_CLONED double sum_of_squares(const Scalar* data, std::int64_t count) { \
    return squares_body(data, count);                                               \
  }

INFINIPIPE_DEFINE_LOOPS(float)
INFINIPIPE_DEFINE_LOOPS(double)
#undef INFINIPIPE_DEFINE_LOOPS

}  // namespace infinipipe::loops
