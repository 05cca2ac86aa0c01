// Cross-entropy of rows of logits and its gradient in place: twice read and once written.
#pragma once

#include "model/common/fused/memory.h"

namespace infinipipe::fused {

// Row r of logits [rows, columns], of any width: terms[r] = weight[r] x (log-sum-exp - the target's
// logit). With `gradient` the row becomes weight x scale x (softmax - one-hot). A row of weight 0
// counts nothing and has gradient 0, whatever its target; any other row whose target is no column
// becomes NaN. A block a row.
template <class T>
struct CrossEntropy {
  static constexpr int kThreads = 512;
  struct Shared {
    float slots[kThreads / kWarp];
  };

  T* logits;
  const std::int64_t* target;
  const double* weight;
  double* terms;
  double scale;
  std::int64_t columns;
  bool gradient;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared& shared) const {
    constexpr int kN = kPack<T>;
    const std::int64_t row = context.block();
    const int thread = context.thread();
    T* const at = logits + row * columns;
    // A row begins at any address: elements [lead, tail) are whole packs, the others go one by one.
    const auto past = static_cast<int>(reinterpret_cast<std::uintptr_t>(at) % kAccess);
    const std::int64_t until = (kAccess - past) % kAccess / static_cast<int>(sizeof(T));
    const std::int64_t lead = until < columns ? until : columns;
    const std::int64_t tail = lead + (columns - lead) / kN * kN;
    const std::int64_t single = columns - (tail - lead);
    const auto single_column = [&](std::int64_t i) { return i < lead ? i : tail + (i - lead); };

    const double counts = weight[row];
    if (counts == 0.0) {
      if (thread == 0) terms[row] = 0.0;
      if (!gradient) return;
      const float zero[kN] = {};
      for (std::int64_t i = lead + thread * kN; i < tail; i += kThreads * kN) store(at + i, zero);
      for (std::int64_t i = thread; i < single; i += kThreads) narrow(at[single_column(i)], 0.0F);
      return;
    }

    // All threads read this before they meet in the sums below, and so before it is written.
    const std::int64_t goal = target[row];
    const bool known = goal >= 0 && goal < columns;
    const float chosen = known ? widen(at[goal]) : NAN;

    // The greatest logit, and the sum of exponentials below it. -inf counts nothing.
    constexpr float kLeast = -INFINITY;
    const auto below = [](float top) { return top == kLeast ? 0.0F : top; };
    float top = kLeast, sum = 0.0F;
#if defined(__CUDACC__)
#pragma unroll 4
#endif
    for (std::int64_t i = lead + thread * kN; i < tail; i += kThreads * kN) {
      const Pack<T> pack = load_pack(at + i);
      float most = top;
      INFINIPIPE_UNROLL
      for (int lane = 0; lane < kN; ++lane) most = fmaxf(most, pack[lane]);
      const float base = below(most);
      sum *= expf(top - base);
      INFINIPIPE_UNROLL
      for (int lane = 0; lane < kN; ++lane) sum += expf(pack[lane] - base);
      top = most;
    }
    for (std::int64_t i = thread; i < single; i += kThreads) {
      const float x = widen(at[single_column(i)]);
      const float most = fmaxf(top, x), base = below(most);
      sum = sum * expf(top - base) + expf(x - base);
      top = most;
    }
    const float base = below(combine_block<kThreads, Most>(context, top, shared.slots));
    const float all = combine_block<kThreads, Sum>(context, sum * expf(top - base), shared.slots);

    if (thread == 0) {
      terms[row] = counts * (static_cast<double>(base) - static_cast<double>(chosen) +
                             log(static_cast<double>(all)));
    }
    if (!gradient) return;
    const float step = known ? static_cast<float>(counts * scale) : chosen;
    const float factor = step / all;
    for (std::int64_t i = lead + thread * kN; i < tail; i += kThreads * kN) {
      const Pack<T> pack = load_pack(at + i);
      const int here = goal >= i && goal < i + kN ? static_cast<int>(goal - i) : -1;
      float result[kN];
      INFINIPIPE_UNROLL
      for (int lane = 0; lane < kN; ++lane) {
        result[lane] = expf(pack[lane] - base) * factor;
        if (lane == here) result[lane] -= step;
      }
      store(at + i, result);
    }
    for (std::int64_t i = thread; i < single; i += kThreads) {
      const std::int64_t column = single_column(i);
      const float result = expf(widen(at[column]) - base) * factor;
      narrow(at[column], column == goal ? result - step : result);
    }
  }
};

}  // namespace infinipipe::fused
