// RMSNorm of rows, forward and backward. A row is one pack times kHold of each of kRow threads, and
// stays in their registers between the row's sum and its result: each number is read once.
#pragma once

#include "model/common/fused/memory.h"

namespace infinipipe::fused {

// How a block of threads is dealt out over rows; a row has at most kRow x kHold packs.
template <class T, int kRow, int kHold>
struct Rows {
  static constexpr int kThreads = kRow > 256 ? kRow : 256;
  static constexpr int kAtOnce = kThreads / kRow;  // rows that a block works on at a time
  static constexpr int kMost = kRow * kHold * kPack<T>;

  // The sum over a row's threads, in all of them.
  template <class Context>
  INFINIPIPE_KERNEL static float sum(Context& context, float value,
                                     float (&slots)[kThreads / kWarp]) {
    if constexpr (kRow <= kWarp) {
      return combine_lanes<kRow, Sum>(context, value);
    } else {
      static_assert(kRow == kThreads);
      return combine_block<kThreads, Sum>(context, value, slots);
    }
  }
  // First column of this thread's k-th pack.
  INFINIPIPE_KERNEL static int column(int thread, int k) {
    return (k * kRow + thread % kRow) * kPack<T>;
  }
};

// value = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps), which goes to `rstd`; or with
// the rstd of `kept`, where that is not null: the same bits again. `columns` is a multiple of
// kPack<T>. Blocks: rows / kAtOnce, rounded up.
template <class T, int kRow, int kHold>
struct RmsNorm : Rows<T, kRow, kHold> {
  using Deal = Rows<T, kRow, kHold>;
  struct Shared {
    float slots[Deal::kThreads / kWarp];
  };

  const T* x;
  const float* weight;
  T* value;
  float* rstd;
  const float* kept;
  float eps;
  int columns;
  std::int64_t rows;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared& shared) const {
    constexpr int kN = kPack<T>;
    const int thread = context.thread();
    const std::int64_t row = context.block() * Deal::kAtOnce + thread / kRow;
    const bool mine = row < rows;
    Pack<T> held[kHold];
    float squares = 0.0F;
    INFINIPIPE_UNROLL
    for (int k = 0; k < kHold; ++k) {
      const int column = Deal::column(thread, k);
      if (!mine || column >= columns) continue;
      held[k] = load_pack(x + row * columns + column);
      INFINIPIPE_UNROLL
      for (int i = 0; i < kN; ++i) squares += held[k][i] * held[k][i];
    }
    float scale = 0.0F;
    if (kept != nullptr) {
      if (mine) scale = kept[row];
    } else {
      squares = Deal::sum(context, squares, shared.slots);
      scale = 1.0F / sqrtf(squares / static_cast<float>(columns) + eps);
      if (mine && thread % kRow == 0) rstd[row] = scale;
    }
    INFINIPIPE_UNROLL
    for (int k = 0; k < kHold; ++k) {
      const int column = Deal::column(thread, k);
      if (!mine || column >= columns) continue;
      float by[kN], result[kN];
      load(weight + column, by);
      INFINIPIPE_UNROLL
      for (int i = 0; i < kN; ++i) result[i] = held[k][i] * scale * by[i];
      store(value + row * columns + column, result);
    }
  }
};

// With u = x rstd and g = grad weight: grad becomes rstd (g - u mean(g u)), plus `residual` if that
// is not null. Block b of `blocks` does rows b x kAtOnce and on, in steps of blocks x kAtOnce, and
// writes its sum of grad u to row b of `partial` [blocks, columns].
template <class T, int kRow, int kHold>
struct RmsNormBackward : Rows<T, kRow, kHold> {
  using Deal = Rows<T, kRow, kHold>;
  struct Shared {
    float slots[Deal::kThreads / kWarp];
    float sums[Deal::kAtOnce > 1 ? Deal::kMost : 1];
  };

  T* grad;
  const T* x;
  const float* rstd;
  const float* weight;
  const T* residual;
  float* partial;
  int columns;
  std::int64_t rows;
  std::int64_t blocks;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared& shared) const {
    constexpr int kN = kPack<T>;
    const int thread = context.thread();
    float sums[kHold][kN] = {};
    // All threads go round equally often: they meet in the sums.
    for (std::int64_t first = context.block() * Deal::kAtOnce; first < rows;
         first += blocks * Deal::kAtOnce) {
      const std::int64_t row = first + thread / kRow;
      const bool mine = row < rows;
      const float scale = mine ? rstd[row] : 0.0F;
      Pack<T> incoming[kHold], input[kHold];
      float dot = 0.0F;
      INFINIPIPE_UNROLL
      for (int k = 0; k < kHold; ++k) {
        const int column = Deal::column(thread, k);
        if (!mine || column >= columns) continue;
        incoming[k] = load_pack(grad + row * columns + column);
        input[k] = load_pack(x + row * columns + column);
        float by[kN];
        load(weight + column, by);
        INFINIPIPE_UNROLL
        for (int i = 0; i < kN; ++i) {
          dot += incoming[k][i] * by[i] * input[k][i];
          sums[k][i] += incoming[k][i] * (input[k][i] * scale);
        }
      }
      dot = Deal::sum(context, dot, shared.slots);
      const float mean = dot * scale / static_cast<float>(columns);
      INFINIPIPE_UNROLL
      for (int k = 0; k < kHold; ++k) {
        const int column = Deal::column(thread, k);
        if (!mine || column >= columns) continue;
        float by[kN], result[kN];
        load(weight + column, by);
        INFINIPIPE_UNROLL
        for (int i = 0; i < kN; ++i)
          result[i] = scale * (incoming[k][i] * by[i] - input[k][i] * scale * mean);
        if (residual != nullptr) {
          const Pack<T> rest = load_pack(residual + row * columns + column);
          INFINIPIPE_UNROLL
          for (int i = 0; i < kN; ++i) result[i] += rest[i];
        }
        store(grad + row * columns + column, result);
      }
    }
    // The rows at once add up in turn, in order.
    if constexpr (Deal::kAtOnce > 1) {
      for (int turn = 0; turn < Deal::kAtOnce; ++turn) {
        if (thread / kRow == turn) {
          INFINIPIPE_UNROLL
          for (int k = 0; k < kHold; ++k) {
            const int column = Deal::column(thread, k);
            INFINIPIPE_UNROLL
            for (int i = 0; i < kN; ++i)
              shared.sums[column + i] = (turn == 0 ? 0.0F : shared.sums[column + i]) + sums[k][i];
          }
        }
        context.sync();
      }
      for (int column = thread; column < columns; column += Deal::kThreads)
        partial[context.block() * columns + column] = shared.sums[column];
    } else {
      INFINIPIPE_UNROLL
      for (int k = 0; k < kHold; ++k) {
        const int column = Deal::column(thread, k);
        if (column < columns) store(partial + context.block() * columns + column, sums[k]);
      }
    }
  }
};

}  // namespace infinipipe::fused
