// Packed tiles of queries, keys and values, and the strips of scores they give; see
// kernels_body.h.
#pragma once

#include "model/common/attention/kernels.h"
#include "model/common/attention/kernels_simd.h"

namespace infinipipe::attention_kernels {

namespace {

INFINIPIPE_FORCE float widened(float x) { return x; }
INFINIPIPE_FORCE double widened(double x) { return x; }
INFINIPIPE_FORCE float widened(Narrow x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
  float wide;
  __builtin_memcpy(&wide, &bits, sizeof(wide));
  return wide;
}

// The vector that starts there.
template <class Scalar>
INFINIPIPE_FORCE Vector<Scalar> lanes(const Scalar* place) {
  return read(place);
}
INFINIPIPE_FORCE Vector<float> lanes(const Narrow* place) {
  Vector<float> wide;
  for (Index i = 0; i < Simd<float>::kLanes; ++i) wide[i] = widened(place[i]);
  return wide;
}

INFINIPIPE_FORCE void store(float x, float* to) { *to = x; }
INFINIPIPE_FORCE void store(double x, double* to) { *to = x; }
// To the nearest, ties to even, as the tensor library rounds.
INFINIPIPE_FORCE void store(float x, Narrow* to) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  const std::uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  to->bits = static_cast<std::uint16_t>(x == x ? rounded : 0x7fc0);
}

// out [rows, padded] = scale x in [rows, dim], zeros beyond dim.
template <class Scalar, class In>
INFINIPIPE_FORCE void pack_rows(const In* in, Index stride, Index rows, Index dim, Index padded,
                                Scalar scale, Scalar* __restrict out) {
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < dim; ++j) out[i * padded + j] = widened(in[i * stride + j]) * scale;
    for (Index j = dim; j < padded; ++j) out[i * padded + j] = 0;
  }
}

// Panels of kWidth keys, transposed: out[panel][dim][kWidth]; zeros beyond the last key.
template <class Scalar, class In>
INFINIPIPE_FORCE void pack_panels(const In* in, Index stride, Index keys, Index dim,
                                  Scalar* __restrict out) {
  constexpr Index kWidth = Simd<Scalar>::kWidth;
  constexpr Index kAcross = 8;
  for (Index first = 0; first < keys; first += kWidth) {
    const Index count = least(kWidth, keys - first);
    Index key = 0;
    for (; key + kAcross <= count; key += kAcross) {
      const In* from = in + (first + key) * stride;
      for (Index i = 0; i < kAcross; ++i)
        for (Index d = 0; d < dim; d += 64 / sizeof(In))
          __builtin_prefetch(from + (kAcross + i) * stride + d);
      for (Index d = 0; d < dim; ++d) {
        INFINIPIPE_UNROLL
        for (Index i = 0; i < kAcross; ++i)
          out[d * kWidth + key + i] = widened(from[i * stride + d]);
      }
    }
    for (; key < count; ++key)
      for (Index d = 0; d < dim; ++d)
        out[d * kWidth + key] = widened(in[(first + key) * stride + d]);
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
