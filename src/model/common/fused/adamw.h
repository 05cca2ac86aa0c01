// One AdamW update of a tensor: float32 master and moments, and the bfloat16 copy that products
// use.
#pragma once

#include "model/common/fused/memory.h"

namespace infinipipe::fused {

// With g = grad * factor:
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w = keep w - rate m / (sqrt(v) root + eps)
// and *copy = w where `copy` is not null. `wide`: all addresses are multiples of 16. Blocks: count
// / kElements, rounded up.
struct AdamW {
  static constexpr int kThreads = 256;
  static constexpr int kN = kPack<Bfloat16>;  // elements of a thread
  static constexpr std::int64_t kElements = kThreads * kN;
  struct Shared {};

  float* weight;
  const float* grad;
  float* exp_avg;
  float* exp_avg_sq;
  Bfloat16* copy;
  std::int64_t count;
  bool wide;
  float factor, beta1, other1, beta2, other2, eps, keep, rate, root;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared&) const {
    const std::int64_t begin = context.block() * kElements;
    if (wide && begin + kElements <= count) {
      const std::int64_t at = begin + context.thread() * kN;
      float w[kN], g[kN], m[kN], v[kN];
      load(weight + at, w);
      load(grad + at, g);
      load(exp_avg + at, m);
      load(exp_avg_sq + at, v);
      INFINIPIPE_UNROLL
      for (int i = 0; i < kN; ++i) update(w[i], g[i], m[i], v[i]);
      store(weight + at, w);
      store(exp_avg + at, m);
      store(exp_avg_sq + at, v);
      if (copy != nullptr) store(copy + at, w);
      return;
    }
    for (std::int64_t i = begin + context.thread(); i < begin + kElements && i < count;
         i += kThreads) {
      float w = weight[i], m = exp_avg[i], v = exp_avg_sq[i];
      update(w, grad[i], m, v);
      weight[i] = w, exp_avg[i] = m, exp_avg_sq[i] = v;
      if (copy != nullptr) narrow(copy[i], w);
    }
  }

  INFINIPIPE_KERNEL void update(float& w, float gradient, float& m, float& v) const {
    const float g = gradient * factor;
    m = beta1 * m + other1 * g;
    v = beta2 * v + other2 * g * g;
    w = w * keep - rate * m / (sqrtf(v) * root + eps);
  }
};

}  // namespace infinipipe::fused
