// Forward of an item; see kernels_body.h.
#pragma once

#include "model/common/attention/kernels.h"
#include "model/common/attention/kernels_tiles.h"

namespace infinipipe::attention_kernels {

namespace {

// Keys per tile: a multiple of every block's width.
constexpr Index kForwardKeys = 384;

// Greatest of `floor` and row[0, whole); whole is a multiple of a vector.
template <class Scalar>
INFINIPIPE_FORCE Scalar greatest(const Scalar* row, Index whole, Scalar floor) {
  constexpr Index kLanes = Simd<Scalar>::kLanes;
  Vector<Scalar> tops = all<Scalar>(floor);
  Vector<Scalar> others = tops;
  Index j = 0;
  for (; j + 2 * kLanes <= whole; j += 2 * kLanes) {
    const Vector<Scalar> x = read(row + j), y = read(row + j + kLanes);
    tops = x > tops ? x : tops;
    others = y > others ? y : others;
  }
  for (; j < whole; j += kLanes) {
    const Vector<Scalar> x = read(row + j);
    tops = x > tops ? x : tops;
  }
  tops = others > tops ? others : tops;
  Scalar top = tops[0];
  for (Index i = 1; i < kLanes; ++i) top = tops[i] > top ? tops[i] : top;
  return top;
}

// row[0, whole) becomes 2^(row - shift); returns the sum of the first `count`, all but less than a
// vector of them.
template <class Scalar>
INFINIPIPE_FORCE Scalar powers(Scalar* row, Index count, Index whole, Scalar shift) {
  constexpr Index kLanes = Simd<Scalar>::kLanes;
  Vector<Scalar> sums{};
  for (Index j = 0; j < whole; j += kLanes) {
    Vector<Scalar> x = at(row + j) - shift;
    power2<Scalar>(x);
    at(row + j) = x;
    sums += x;
  }
  for (Index i = count; i < whole; ++i) sums[i - (whole - kLanes)] -= row[i];
  Scalar total = sums[0];
  for (Index i = 1; i < kLanes; ++i) total += sums[i];
  return total;
}

// A strip of softmaxes in progress meets one more tile of keys: scores become powers, those that a
// row may not see (the first hidden + i, and from least(columns, visible + i) on, up to `width`)
// zero. Moves maximum and sum on and rescales output.
template <class Scalar>
struct SoftmaxStrip {
  Scalar *scores, *maximum, *sum, *output;
  Index scores_stride, padded;  // padded: of output

  INFINIPIPE_FORCE void run(Index rows, Index columns, Index visible, Index hidden,
                            Index width) const {
    constexpr Index kLanes = Simd<Scalar>::kLanes;
    constexpr Scalar kNothing = -__builtin_huge_val();
    Scalar top[kBlockRows];
    for (Index i = 0; i < rows; ++i) {
      Scalar* row = scores + i * scores_stride;
      const Index count = least(columns, visible + i), whole = round_up(count, kLanes);
      fill(row, count, whole, kNothing);
      fill(row, 0, least(count, hidden + i), kNothing);
      top[i] = greatest(row, whole, maximum[i]);
    }
    for (Index i = 0; i < rows; ++i) {
      Scalar* row = scores + i * scores_stride;
      const Index count = least(columns, visible + i);
      if (hidden + i >= count) {
        fill<Scalar>(row, 0, width, 0);
        continue;
      }
      // What is hidden adds less to the sum than its last digit, where that is at least 1.
      const Scalar added = powers(row, count, round_up(count, kLanes), top[i]);
      fill<Scalar>(row, count, width, 0);
      fill<Scalar>(row, 0, hidden + i, 0);
      if (top[i] == maximum[i]) {
        sum[i] += added;
        continue;
      }
      const Scalar factor = power2_of<Scalar>(maximum[i] - top[i]);
      sum[i] = sum[i] * factor + added;
      maximum[i] = top[i];
      Scalar* out = output + i * padded;
      for (Index j = 0; j < padded; j += kLanes) at(out + j) = at(out + j) * factor;
    }
  }
};

template <class Scalar>
struct ForwardScratch {
  Index padded;
  Scalar *queries, *output, *keys, *values, *scores, *maximum, *sum, *end;

  ForwardScratch(Index members, Index dim, Scalar* base)
      : padded(round_up(dim, Simd<Scalar>::kLanes)) {
    const Index rows = members * kForwardRows;
    queries = base;
    output = queries + rows * padded;
    keys = output + rows * padded;
    values = keys + kForwardKeys * round_up(dim, 16);
    scores = values + kForwardKeys * padded;
    maximum = scores + kBlockRows * kForwardKeys;
    sum = maximum + rows;
    end = sum + rows;
  }
};

template <class Scalar>
Index forward_scratch(Index members, Index dim) {
  Scalar* const none = nullptr;
  return ForwardScratch<Scalar>(members, dim, none).end - none;
}

template <class Scalar, class In>
void forward(const ForwardItem<Scalar, In>& item, Scalar* memory) {
  const Index dim = item.dim, rows = item.end - item.begin;
  const ForwardScratch<Scalar> scratch(item.members, dim, memory);
  const Index padded = scratch.padded;
  const Scalar scale = static_cast<Scalar>(1.0 / __builtin_sqrt(static_cast<double>(dim)));
  for (Index m = 0; m < item.members; ++m) {
    pack_rows(item.query + item.begin * item.query_stride + m * dim, item.query_stride, rows, dim,
              padded, static_cast<Scalar>(scale * kLog2e<Scalar>),
              scratch.queries + m * rows * padded);
  }
  fill<Scalar>(scratch.output, 0, item.members * rows * padded, 0);
  fill<Scalar>(scratch.maximum, 0, item.members * rows, static_cast<Scalar>(-__builtin_huge_val()));
  fill<Scalar>(scratch.sum, 0, item.members * rows, 0);

  for (Index run = 0; run < item.key_runs; ++run) {
    const Keys<Scalar, In>& keys = item.keys[run];
    const Index limit = keys.causal ? item.end : keys.count;
    // Of the item's queries the first one sees the earliest keys. Tiles begin where strips do, so
    // that of the slice's own keys either all queries of a strip see some in a tile or none does.
    const Index seen_from = most(0, keys.hidden + item.begin) / kBlockRows * kBlockRows;
    for (Index first = seen_from; first < limit; first += kForwardKeys) {
      const Index columns = least(kForwardKeys, limit - first);
      pack_panels(keys.key + first * item.key_stride, item.key_stride, columns, dim, scratch.keys);
      pack_rows(keys.value + first * item.key_stride, item.key_stride, columns, dim, padded,
                Scalar(1), scratch.values);
      for (Index m = 0; m < item.members; ++m) {
        for (Index r = 0; r < rows; r += kBlockRows) {
          const Index height = least(kBlockRows, rows - r);
          const Index visible = keys.causal ? item.begin + r + 1 - first : columns;
          const Index seen = least(columns, visible + height - 1);
          const Index hidden = keys.hidden + item.begin + r - first;
          if (visible <= 0 || hidden >= seen) continue;
          const Index row = m * rows + r;
          // Panels of keys that the whole strip may not see are left out.
          const Index from = most(0, hidden) / Simd<Scalar>::kWidth * Simd<Scalar>::kWidth;
          score_strip(height, seen - from, dim, scratch.queries + row * padded, padded,
                      scratch.keys + from * dim, scratch.scores, kForwardKeys);
          SoftmaxStrip<Scalar>{scratch.scores,    scratch.maximum + row,
                               scratch.sum + row, scratch.output + row * padded,
                               kForwardKeys,      padded}
              .run(height, columns - from, visible - from, hidden - from, seen - from);
          strip(height, padded, seen - from, scratch.scores, kForwardKeys, Index(1),
                scratch.values + from * padded, padded, scratch.output + row * padded, padded,
                true);
        }
      }
    }
  }
  for (Index m = 0; m < item.members; ++m) {
    for (Index r = 0; r < rows; ++r) {
      const Index row = m * rows + r;
      const Scalar factor = 1 / scratch.sum[row];
      const Scalar* from = scratch.output + row * padded;
      In* to = item.output + (item.begin + r) * item.query_stride + m * dim;
      for (Index j = 0; j < dim; ++j) store(from[j] * factor, to + j);
      item.lse[(item.begin + r) * item.lse_stride + m] = static_cast<Scalar>(
          scratch.maximum[row] * kLn2<Scalar> +
          static_cast<Scalar>(__builtin_log(static_cast<double>(scratch.sum[row]))));
    }
  }
}

}  // namespace

}  // namespace infinipipe::attention_kernels
