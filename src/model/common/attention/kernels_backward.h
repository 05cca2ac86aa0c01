// Backward of an item; see kernels_body.h.
#pragma once

#include "model/common/attention/kernels.h"
#include "model/common/attention/kernels_tiles.h"

namespace infinipipe::attention_kernels {

namespace {

// A tile of keys (a multiple of every block's width and of kBlockRows) against one of queries.
constexpr Index kBackwardKeys = 192;
constexpr Index kBackwardRows = 96;

template <class Scalar>
struct BackwardScratch {
  Index padded;
  Index stride;  // of probabilities and score gradients
  Scalar *key_panels, *value_panels, *keys, *key_grad, *value_grad;
  Scalar *queries, *incoming, *probability, *score_grad, *query_grad, *end;

  BackwardScratch(Index dim, Scalar* base)
      : padded(round_up(dim, Simd<Scalar>::kLanes)), stride(kBackwardKeys + 16) {
    const Index panel = kBackwardKeys * round_up(dim, 16), tile = kBackwardKeys * padded;
    key_panels = base;
    value_panels = key_panels + panel;
    keys = value_panels + panel;
    key_grad = keys + tile;
    value_grad = key_grad + tile;
    queries = value_grad + tile;
    incoming = queries + kBackwardRows * padded;
    probability = incoming + kBackwardRows * padded;
    score_grad = probability + kBackwardRows * stride;
    query_grad = score_grad + kBackwardRows * stride;
    end = query_grad + kBlockRows * padded;
  }
};

template <class Scalar>
Index backward_scratch(Index, Index dim) {
  Scalar* const none = nullptr;
  return BackwardScratch<Scalar>(dim, none).end - none;
}

// Scores become probabilities, and gradients of probabilities those of scores; zeros up to `hidden`
// and from `count` to `width`.
template <class Scalar>
INFINIPIPE_FORCE void gradient_row(Scalar* probability, Scalar* grad, Index hidden, Index count,
                                   Index width, Scalar lse2, Scalar delta) {
  constexpr Index kLanes = Simd<Scalar>::kLanes;
  for (Index j = 0; j < count; j += kLanes) {
    Vector<Scalar> p = at(probability + j) - lse2;
    power2<Scalar>(p);
    at(probability + j) = p;
    at(grad + j) = p * (at(grad + j) - delta);
  }
  fill<Scalar>(probability, count, width, 0);
  fill<Scalar>(grad, count, width, 0);
  fill<Scalar>(probability, 0, hidden, 0);
  fill<Scalar>(grad, 0, hidden, 0);
}

// One tile of keys against one tile of queries of one head.
template <class Scalar, class In>
struct BackwardTile {
  const BackwardItem<Scalar, In>& item;
  const BackwardScratch<Scalar>& scratch;
  Index member, row, rows;  // queries [row, row + rows) of the slice
  Index columns;            // keys in the tile
  Index visible;            // that the first query sees; may be < 1
  Index hidden;             // of these, that a window hides from the first query; may be < 1
  bool causal;
  bool first;  // query_grad starts here

  // Keys that query i of the tile sees.
  INFINIPIPE_FORCE Index seen(Index i) const {
    return causal ? most(0, least(columns, visible + i)) : columns;
  }

  // Of these, keys that the window hides from query i.
  INFINIPIPE_FORCE Index missed(Index i) const { return most(0, least(columns, hidden + i)); }

  void run() const {
    const Index dim = item.dim, padded = scratch.padded, stride = scratch.stride;
    const Index at_query = row * item.query_stride + member * dim;
    const Scalar scale = static_cast<Scalar>(1.0 / __builtin_sqrt(static_cast<double>(dim)));
    pack_rows(item.query + at_query, item.query_stride, rows, dim, padded,
              static_cast<Scalar>(scale * kLog2e<Scalar>), scratch.queries);
    pack_rows(item.output_grad + at_query, item.query_stride, rows, dim, padded, Scalar(1),
              scratch.incoming);
    for (Index r = 0; r < rows; r += kBlockRows) score_rows(r, least(kBlockRows, rows - r), scale);
    for (Index c = 0; c < columns; c += kBlockRows) {
      const Index height = least(kBlockRows, columns - c);
      const Index from = causal ? least(rows, most(0, c + 1 - visible)) : 0;
      const Index to = least(rows, c + height - hidden);  // later queries see none of these keys
      const Scalar* p = scratch.probability + from * stride + c;
      const Scalar* g = scratch.score_grad + from * stride + c;
      strip(height, padded, to - from, p, Index(1), stride, scratch.incoming + from * padded,
            padded, scratch.value_grad + c * padded, padded, true);
      strip(height, padded, to - from, g, Index(1), stride, scratch.queries + from * padded, padded,
            scratch.key_grad + c * padded, padded, true);
    }
  }

  INFINIPIPE_FORCE void score_rows(Index r, Index height, Scalar scale) const {
    const Index dim = item.dim, padded = scratch.padded, stride = scratch.stride;
    Scalar* probability = scratch.probability + r * stride;
    Scalar* grad = scratch.score_grad + r * stride;
    const Index last = seen(r + height - 1);
    // Panels of keys that the whole strip may not see are left out.
    const Index skipped = missed(r) / Simd<Scalar>::kWidth * Simd<Scalar>::kWidth;
    // What key strips may read: beyond the last key, and before the first panel.
    const Index width = least(stride, round_up(last, Simd<Scalar>::kLanes) + kBlockRows) - skipped;
    for (Index i = 0; i < height && skipped > 0; ++i) {
      fill<Scalar>(probability + i * stride, most(0, skipped - kBlockRows), skipped, 0);
      fill<Scalar>(grad + i * stride, most(0, skipped - kBlockRows), skipped, 0);
    }
    probability += skipped;
    grad += skipped;
    score_strip(height, last - skipped, dim, scratch.queries + r * padded, padded,
                scratch.key_panels + skipped * dim, probability, stride);
    score_strip(height, last - skipped, dim, scratch.incoming + r * padded, padded,
                scratch.value_panels + skipped * dim, grad, stride);
    for (Index i = 0; i < height; ++i) {
      const Index query = row + r + i;
      const Index at_row = query * item.lse_stride + member;
      gradient_row(probability + i * stride, grad + i * stride, missed(r + i) - skipped,
                   seen(r + i) - skipped, width, item.lse[at_row] * kLog2e<Scalar>,
                   item.delta[at_row]);
    }
    strip(height, padded, last - skipped, grad, stride, Index(1), scratch.keys + skipped * padded,
          padded, scratch.query_grad, padded, false);
    for (Index i = 0; i < height; ++i) {
      Scalar* to = item.query_grad + (row + r + i) * item.query_stride + member * dim;
      const Scalar* from = scratch.query_grad + i * padded;
      if (first) {
        for (Index j = 0; j < dim; ++j) to[j] = from[j] * scale;
      } else {
        for (Index j = 0; j < dim; ++j) to[j] += from[j] * scale;
      }
    }
  }
};

// Sum of output x its gradient, a number per row and member.
template <class Scalar, class In>
INFINIPIPE_FORCE void deltas(const BackwardItem<Scalar, In>& item) {
  constexpr Index kLanes = Simd<Scalar>::kLanes;
  for (Index row = 0; row < item.end; ++row) {
    for (Index m = 0; m < item.members; ++m) {
      const Index offset = row * item.query_stride + m * item.dim;
      Vector<Scalar> sums{};
      Index j = 0;
      for (; j + kLanes <= item.dim; j += kLanes)
        sums += lanes(item.output + offset + j) * lanes(item.output_grad + offset + j);
      Scalar sum = 0;
      for (; j < item.dim; ++j)
        sum += widened(item.output[offset + j]) * widened(item.output_grad[offset + j]);
      for (Index i = 0; i < kLanes; ++i) sum += sums[i];
      item.delta[row * item.lse_stride + m] = sum;
    }
  }
}

template <class Scalar, class In>
void backward(const BackwardItem<Scalar, In>& item, Scalar* memory) {
  const Index dim = item.dim, length = item.end;
  const BackwardScratch<Scalar> scratch(dim, memory);
  const Index padded = scratch.padded;
  deltas(item);
  // The first tile writes all queries' gradients, and others add; but with a window it is not seen
  // by all.
  bool first_tile = !item.window;
  if (item.window) {
    for (Index row = 0; row < length; ++row)
      fill<Scalar>(item.query_grad + row * item.query_stride, 0, item.members * dim, 0);
  }
  for (Index run = 0; run < item.key_runs; ++run) {
    const Keys<Scalar, In>& keys = item.keys[run];
    for (Index first = 0; first < keys.count; first += kBackwardKeys) {
      const Index columns = least(kBackwardKeys, keys.count - first);
      const Index begin = keys.causal ? first : 0;
      const Index end = least(length, first + columns - keys.hidden);  // of queries that see some
      if (begin >= end) continue;
      const Index offset = first * item.key_stride;
      pack_panels(keys.key + offset, item.key_stride, columns, dim, scratch.key_panels);
      pack_panels(keys.value + offset, item.key_stride, columns, dim, scratch.value_panels);
      pack_rows(keys.key + offset, item.key_stride, columns, dim, padded, Scalar(1), scratch.keys);
      fill<Scalar>(scratch.key_grad, 0, columns * padded, 0);
      fill<Scalar>(scratch.value_grad, 0, columns * padded, 0);
      for (Index m = 0; m < item.members; ++m) {
        for (Index row = begin; row < end; row += kBackwardRows) {
          BackwardTile<Scalar, In>{item,
                                   scratch,
                                   m,
                                   row,
                                   least(kBackwardRows, end - row),
                                   columns,
                                   row + 1 - first,
                                   keys.hidden + row - first,
                                   keys.causal,
                                   first_tile}
              .run();
        }
      }
      first_tile = false;
      for (Index i = 0; i < columns; ++i) {
        Scalar* key_to = keys.key_grad + offset + i * item.key_stride;
        Scalar* value_to = keys.value_grad + offset + i * item.key_stride;
        const Scalar* key_from = scratch.key_grad + i * padded;
        const Scalar* value_from = scratch.value_grad + i * padded;
        for (Index j = 0; j < dim; ++j) key_to[j] += key_from[j] * kLn2<Scalar>;
        for (Index j = 0; j < dim; ++j) value_to[j] += value_from[j];
      }
    }
  }
}

}  // namespace

}  // namespace infinipipe::attention_kernels
