// Packed tiles of queries, keys and values, and the strips of scores they give; see
// kernels_body.h.
#pragma once

#include "model/common/attention/kernels_simd.h"

namespace infinipipe::attention_kernels {

namespace {

// out [rows, padded] = scale x in [rows, dim], zeros beyond dim.
template <class Scalar>
INFINIPIPE_FORCE void pack_rows(const Scalar* in, Index stride, Index rows, Index dim, Index padded,
                                Scalar scale, Scalar* __restrict out) {
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < dim; ++j) out[i * padded + j] = in[i * stride + j] * scale;
    for (Index j = dim; j < padded; ++j) out[i * padded + j] = 0;
  }
}

// Panels of kWidth keys, transposed: out[panel][dim][kWidth]; zeros beyond the last key.
template <class Scalar>
INFINIPIPE_FORCE void pack_panels(const Scalar* in, Index stride, Index keys, Index dim,
                                  Scalar* __restrict out) {
  constexpr Index kWidth = Simd<Scalar>::kWidth;
  constexpr Index kAcross = 8;
  for (Index first = 0; first < keys; first += kWidth) {
    const Index count = least(kWidth, keys - first);
    Index key = 0;
    for (; key + kAcross <= count; key += kAcross) {
      const Scalar* from = in + (first + key) * stride;
      for (Index i = 0; i < kAcross; ++i)
        for (Index d = 0; d < dim; d += 64 / sizeof(Scalar))
          __builtin_prefetch(from + (kAcross + i) * stride + d);
      for (Index d = 0; d < dim; ++d) {
        INFINIPIPE_UNROLL
        for (Index i = 0; i < kAcross; ++i) out[d * kWidth + key + i] = from[i * stride + d];
      }
    }
    for (; key < count; ++key)
      for (Index d = 0; d < dim; ++d) out[d * kWidth + key] = in[(first + key) * stride + d];
    if (count < kWidth) {
      for (Index d = 0; d < dim; ++d)
        for (Index i = count; i < kWidth; ++i) out[d * kWidth + i] = 0;
    }
    out += dim * kWidth;
  }
}

template <class Scalar>
INFINIPIPE_FORCE Block<Scalar> block_of(Index rows, Index vectors) {
  switch (vectors) {
    case 1:
      return block_of_rows<Scalar, 1>(rows);
    case 2:
      return block_of_rows<Scalar, least(2, kBlockVectors)>(rows);
    case 3:
      return block_of_rows<Scalar, least(3, kBlockVectors)>(rows);
    default:
      return block_of_rows<Scalar, kBlockVectors>(rows);
  }
}

// scores [rows, keys rounded up to a vector] = queries [rows, padded] x panels.
template <class Scalar>
INFINIPIPE_FORCE void score_strip(Index rows, Index keys, Index dim, const Scalar* queries,
                                  Index padded, const Scalar* panels, Scalar* scores,
                                  Index scores_stride) {
  constexpr Index kWidth = Simd<Scalar>::kWidth, kLanes = Simd<Scalar>::kLanes;
  const Block<Scalar> whole = block_of<Scalar>(rows, kBlockVectors);
  Index first = 0;
  for (; first + kWidth <= keys; first += kWidth) {
    whole(dim, queries, padded, 1, panels + first * dim, kWidth, scores + first, scores_stride,
          false);
  }
  if (first == keys) return;
  block_of<Scalar>(rows, (keys - first + kLanes - 1) / kLanes)(
      dim, queries, padded, 1, panels + first * dim, kWidth, scores + first, scores_stride, false);
}

template <class Scalar>
INFINIPIPE_FORCE void fill(Scalar* row, Index from, Index to, Scalar value) {
  for (Index i = from; i < to; ++i) row[i] = value;
}

}  // namespace

}  // namespace infinipipe::attention_kernels
