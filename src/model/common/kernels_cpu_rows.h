// The CPU kernels' loops over raw rows, for float64, float32 and bfloat16 (arithmetic in Acc).
// Compiled for several instruction sets and chosen at load time; without contraction to fused
// multiply-add all of them give the same bits. Sums run in a fixed number of lanes.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace infinipipe::kernels::rows {

// [T, D] row-major; rows [begin, end).
#define INFINIPIPE_DECLARE_ROWS(Scalar, Acc)                                                     \
  void rms_norm(const Scalar* x, const Acc* weight, Acc eps, std::int64_t columns,               \
                std::int64_t begin, std::int64_t end, Scalar* out, Acc* rstd);                   \
  void rms_norm_again(const Scalar* x, const Acc* rstd, const Acc* weight, std::int64_t columns, \
                      std::int64_t begin, std::int64_t end, Scalar* out);                        \
  /* residual may be null; weight_grad [columns] is added to */                                  \
  void rms_norm_backward(Scalar* grad, const Scalar* x, const Acc* rstd, const Acc* weight,      \
                         const Scalar* residual, std::int64_t columns, std::int64_t begin,       \
                         std::int64_t end, Acc* weight_grad);                                    \
  void swiglu(const Scalar* gate_up, std::int64_t width, std::int64_t begin, std::int64_t end,   \
              Scalar* out);                                                                      \
  void swiglu_backward(Scalar* gate_up, Scalar* hidden_grad, std::int64_t width,                 \
                       std::int64_t begin, std::int64_t end);                                    \
  /* one row; returns log-sum-exp - logits[target]; the gradient if scale != 0 */                \
  double cross_entropy(Scalar* logits, std::int64_t target, Acc scale, std::int64_t columns);

INFINIPIPE_DECLARE_ROWS(double, double)
INFINIPIPE_DECLARE_ROWS(float, float)
INFINIPIPE_DECLARE_ROWS(c10::BFloat16, float)
#undef INFINIPIPE_DECLARE_ROWS

// One row of `heads` heads: out = in rotated by the row's angles; direction -1 rotates back.
#define INFINIPIPE_DECLARE_ROTATE(In, Out, Acc)                                             \
  void rotate(const In* in, Out* out, std::int64_t heads, std::int64_t dim, const Acc* cos, \
              const Acc* sin, Acc direction);                                               \
  void convert(const In* in, Out* out, std::int64_t count);                                 \
  void add(const In* in, Out* out, std::int64_t count); /* out += in */

INFINIPIPE_DECLARE_ROTATE(double, double, double)
INFINIPIPE_DECLARE_ROTATE(float, float, float)
INFINIPIPE_DECLARE_ROTATE(c10::BFloat16, c10::BFloat16, float)
INFINIPIPE_DECLARE_ROTATE(float, c10::BFloat16, float)
INFINIPIPE_DECLARE_ROTATE(c10::BFloat16, float, float)
#undef INFINIPIPE_DECLARE_ROTATE

}  // namespace infinipipe::kernels::rows
