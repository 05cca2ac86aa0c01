// Sums of many numbers in a fixed order: what blocks left in partial rows, and squares.
#pragma once

#include "model/common/fused/memory.h"

namespace infinipipe::fused {

// total[c] += sum over rows of partial[row, c]. Blocks: columns / 32, rounded up.
struct ColumnSums {
  static constexpr int kThreads = 256;
  static constexpr int kParts =
      kThreads / kWarp;  // a column's rows are dealt out to so many threads
  struct Shared {
    float parts[kParts][kWarp];
  };

  const float* partial;
  float* total;
  std::int64_t rows;
  std::int64_t columns;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared& shared) const {
    const int lane = context.thread() % kWarp, part = context.thread() / kWarp;
    const std::int64_t column = context.block() * kWarp + lane;
    float sum = 0.0F;
    if (column < columns) {
#if defined(__CUDACC__)
#pragma unroll 8
#endif
      for (std::int64_t row = part; row < rows; row += kParts)
        sum += partial[row * columns + column];
    }
    shared.parts[part][lane] = sum;
    context.sync();
    if (part != 0 || column >= columns) return;
    for (int i = 1; i < kParts; ++i) sum += shared.parts[i][lane];
    total[column] += sum;
  }
};

// Sum of squares in float64 of elements [b x kElements, (b + 1) x kElements) into partial[b].
// `wide`: the address of `data` is a multiple of 16. Blocks: count / kElements, rounded up.
struct Squares {
  static constexpr int kThreads = 256;
  static constexpr std::int64_t kElements = 1 << 16;
  struct Shared {
    double slots[kThreads / kWarp];
  };

  const float* data;
  double* partial;
  std::int64_t count;
  bool wide;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared& shared) const {
    constexpr int kN = kPack<float>;
    const std::int64_t begin = context.block() * kElements;
    const std::int64_t size = count - begin < kElements ? count - begin : kElements;
    const std::int64_t whole = wide ? size / kN * kN : 0;  // by packs; the rest one by one
    double sums[kN] = {};
#if defined(__CUDACC__)
#pragma unroll 4
#endif
    for (std::int64_t i = std::int64_t{context.thread()} * kN; i < whole; i += kThreads * kN) {
      const Pack<float> pack = load_pack(data + begin + i);
      INFINIPIPE_UNROLL
      for (int lane = 0; lane < kN; ++lane) {
        const auto x = static_cast<double>(pack[lane]);
        sums[lane] += x * x;
      }
    }
    for (std::int64_t i = whole + context.thread(); i < size; i += kThreads) {
      const auto x = static_cast<double>(data[begin + i]);
      sums[0] += x * x;
    }
    const double sum = combine_block<kThreads, Sum>(
        context, (sums[0] + sums[1]) + (sums[2] + sums[3]), shared.slots);
    if (context.thread() == 0) partial[context.block()] = sum;
  }
};

// *total = the sum of `count` numbers. One block.
struct Total {
  static constexpr int kThreads = 256;
  struct Shared {
    double slots[kThreads / kWarp];
  };

  const double* numbers;
  double* total;
  std::int64_t count;

  template <class Context>
  INFINIPIPE_KERNEL void operator()(Context& context, Shared& shared) const {
    double sum = 0.0;
    for (std::int64_t i = context.thread(); i < count; i += kThreads) sum += numbers[i];
    sum = combine_block<kThreads, Sum>(context, sum, shared.slots);
    if (context.thread() == 0) *total = sum;
  }
};

}  // namespace infinipipe::fused
