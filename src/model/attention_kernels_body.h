// The loops of attention_kernels.h for one instruction set. Included once by each
// attention_kernels_<set>.cpp, after INFINIPIPE_VECTOR_BYTES (a vector register) and
// INFINIPIPE_BLOCK_VECTORS (vectors across a register block of kBlockRows rows). Everything here
// has internal linkage and calls no library code.
#include <cstdint>

#include "model/attention_kernels.h"

namespace infinipipe::attention_kernels {

namespace {

using Index = std::int64_t;

#define INFINIPIPE_FORCE inline __attribute__((always_inline))
#define INFINIPIPE_UNROLL _Pragma("GCC unroll 16")

constexpr Index kBlockRows = 6;
constexpr Index kBlockVectors = INFINIPIPE_BLOCK_VECTORS;

// Keys per tile: multiples of every block's width and of kBlockRows.
constexpr Index kForwardKeys = 384;
constexpr Index kBackwardKeys = 192;
constexpr Index kBackwardRows = 96;

template <class Scalar>
struct Bits;
template <>
struct Bits<float> {
  using Int = std::int32_t;
  static constexpr float kRound = 12582912.0F;  // 1.5 x 2^23: adding it rounds to a whole number
  static constexpr int kMantissa = 23;
  static constexpr float kLeast = -125.0F;
};
template <>
struct Bits<double> {
  using Int = std::int64_t;
  static constexpr double kRound = 6755399441055744.0;  // 1.5 x 2^52
  static constexpr int kMantissa = 52;
  static constexpr double kLeast = -1021.0;
};

template <class Scalar>
struct Simd {
  static constexpr Index kLanes = INFINIPIPE_VECTOR_BYTES / sizeof(Scalar);
  static constexpr Index kWidth = kBlockVectors * kLanes;  // of a register block
  typedef Scalar Vector __attribute__((vector_size(INFINIPIPE_VECTOR_BYTES)));
  typedef Scalar Unaligned
      __attribute__((vector_size(INFINIPIPE_VECTOR_BYTES), aligned(sizeof(Scalar)), may_alias));
  typedef typename Bits<Scalar>::Int Integers __attribute__((vector_size(INFINIPIPE_VECTOR_BYTES)));
};

template <class Scalar>
using Vector = typename Simd<Scalar>::Vector;

template <class Scalar>
INFINIPIPE_FORCE const typename Simd<Scalar>::Unaligned& read(const Scalar* place) {
  return *reinterpret_cast<const typename Simd<Scalar>::Unaligned*>(place);
}
template <class Scalar>
INFINIPIPE_FORCE typename Simd<Scalar>::Unaligned& at(Scalar* place) {
  return *reinterpret_cast<typename Simd<Scalar>::Unaligned*>(place);
}

INFINIPIPE_FORCE constexpr Index least(Index a, Index b) { return a < b ? a : b; }
INFINIPIPE_FORCE constexpr Index most(Index a, Index b) { return a > b ? a : b; }
INFINIPIPE_FORCE constexpr Index round_up(Index value, Index unit) {
  return (value + unit - 1) / unit * unit;
}

// The number in every lane. (Minus zero: plus zero would be an operation, for the sake of -0.)
template <class Scalar>
INFINIPIPE_FORCE Vector<Scalar> all(Scalar value) {
  return value - Vector<Scalar>{};
}

// x becomes 2^x, for x up to the greatest exponent; below kLeast it stays at 2^kLeast. NaN stays
// NaN. The low bits of `rounded` hold the whole part n; shifted, they add n to the fraction's
// exponent. Polynomials: vector_math.h.
INFINIPIPE_FORCE void fraction_power(const Vector<float>& r, Vector<float>& out) {
  const Vector<float> r2 = r * r;
  const Vector<float> first = r * 2.402264791363012e-1F + 6.931472028550421e-1F;
  const Vector<float> second = r * 9.618437357674640e-3F + 5.550332471162809e-2F;
  const Vector<float> third = r * 1.535336188319500e-4F + 1.339887440266574e-3F;
  out = r * (r2 * (r2 * third + second) + first) + 1.0F;
}
INFINIPIPE_FORCE void fraction_power(const Vector<double>& r, Vector<double>& out) {
  const Vector<double> r2 = r * r;
  Vector<double> even = r2 * 2.5678435993488196e-11 + 7.0549116208011209e-09;
  even = even * r2 + 1.3215486790144305e-06;
  even = even * r2 + 0.00015403530393381606;
  even = even * r2 + 0.0096181291076284769;
  even = even * r2 + 0.24022650695910069;
  even = even * r2 + 1.0;
  Vector<double> odd = r2 * 1.3691488853904124e-12 + 4.4455382718708101e-10;
  odd = odd * r2 + 1.0178086009239696e-07;
  odd = odd * r2 + 1.5252733804059838e-05;
  odd = odd * r2 + 0.0013333558146428441;
  odd = odd * r2 + 0.055504108664821576;
  odd = odd * r2 + 0.69314718055994529;
  out = r * odd + even;
}

template <class Scalar>
INFINIPIPE_FORCE void power2(Vector<Scalar>& x) {
  using B = Bits<Scalar>;
  using Integers = typename Simd<Scalar>::Integers;
  const Vector<Scalar> low = all<Scalar>(B::kLeast);
  const Vector<Scalar> clamped = x < low ? low : x;
  const Vector<Scalar> rounded = clamped + B::kRound;
  const Vector<Scalar> r = clamped - (rounded - B::kRound);
  Vector<Scalar> fraction;
  fraction_power(r, fraction);
  x = (Vector<Scalar>)((Integers)fraction + ((Integers)rounded << B::kMantissa));
}

template <class Scalar>
INFINIPIPE_FORCE Scalar power2_of(Scalar value) {
  Vector<Scalar> x = all<Scalar>(value);
  power2<Scalar>(x);
  return x[0];
}

// c [Rows, Vectors] (+)= a b over `depth`; a's element (row i, k) is a[i a_row + k a_step], b's
// rows are b_stride apart.
template <class Scalar, Index Rows, Index Vectors>
void block(Index depth, const Scalar* a, Index a_row, Index a_step, const Scalar* b, Index b_stride,
           Scalar* c, Index c_stride, bool add) {
  constexpr Index kLanes = Simd<Scalar>::kLanes;
  Vector<Scalar> sums[Rows][Vectors];
  INFINIPIPE_UNROLL
  for (Index i = 0; i < Rows; ++i) {
    INFINIPIPE_UNROLL
    for (Index j = 0; j < Vectors; ++j) sums[i][j] = Vector<Scalar>{};
  }
  for (Index k = 0; k < depth; ++k) {
    Vector<Scalar> row[Vectors];
    INFINIPIPE_UNROLL
    for (Index j = 0; j < Vectors; ++j) row[j] = read(b + j * kLanes);
    INFINIPIPE_UNROLL
    for (Index i = 0; i < Rows; ++i) {
      const Vector<Scalar> factor = all<Scalar>(a[i * a_row]);
      INFINIPIPE_UNROLL
      for (Index j = 0; j < Vectors; ++j) sums[i][j] += factor * row[j];
    }
    a += a_step;
    b += b_stride;
  }
  INFINIPIPE_UNROLL
  for (Index i = 0; i < Rows; ++i) {
    INFINIPIPE_UNROLL
    for (Index j = 0; j < Vectors; ++j) {
      Scalar* place = c + i * c_stride + j * kLanes;
      at(place) = add ? at(place) + sums[i][j] : sums[i][j];
    }
  }
}

template <class Scalar>
using Block = void (*)(Index, const Scalar*, Index, Index, const Scalar*, Index, Scalar*, Index,
                       bool);

template <class Scalar, Index Vectors>
INFINIPIPE_FORCE Block<Scalar> block_of_rows(Index rows) {
  switch (rows) {
    case 1:
      return block<Scalar, 1, Vectors>;
    case 2:
      return block<Scalar, 2, Vectors>;
    case 3:
      return block<Scalar, 3, Vectors>;
    case 4:
      return block<Scalar, 4, Vectors>;
    case 5:
      return block<Scalar, 5, Vectors>;
    default:
      return block<Scalar, 6, Vectors>;
  }
}

// As block, for `rows` <= kBlockRows and `width` numbers across, a multiple of a vector.
template <class Scalar>
INFINIPIPE_FORCE void strip(Index rows, Index width, Index depth, const Scalar* a, Index a_row,
                            Index a_step, const Scalar* b, Index b_stride, Scalar* c,
                            Index c_stride, bool add) {
  constexpr Index kWidth = Simd<Scalar>::kWidth, kLanes = Simd<Scalar>::kLanes;
  Index j = 0;
  for (; j + kWidth <= width; j += kWidth) {
    block_of_rows<Scalar, kBlockVectors>(rows)(depth, a, a_row, a_step, b + j, b_stride, c + j,
                                               c_stride, add);
  }
  for (; j < width; j += kLanes)
    block_of_rows<Scalar, 1>(rows)(depth, a, a_row, a_step, b + j, b_stride, c + j, c_stride, add);
}

// Packed tiles
// -------------------------------------------------------------------------------------

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
INFINIPIPE_FORCE void fill(Scalar* place, Index from, Index to, Scalar value) {
  for (Index i = from; i < to; ++i) place[i] = value;
}

// Forward
// ------------------------------------------------------------------------------------------

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
// row may not see (from least(columns, visible + i) on, up to `width`) zero. Moves maximum and sum
// on and rescales output.
template <class Scalar>
struct SoftmaxStrip {
  Scalar *scores, *maximum, *sum, *output;
  Index scores_stride, padded;  // padded: of output

  INFINIPIPE_FORCE void run(Index rows, Index columns, Index visible, Index width) const {
    constexpr Index kLanes = Simd<Scalar>::kLanes;
    constexpr Scalar kNothing = -__builtin_huge_val();
    Scalar top[kBlockRows];
    for (Index i = 0; i < rows; ++i) {
      Scalar* row = scores + i * scores_stride;
      const Index count = least(columns, visible + i), whole = round_up(count, kLanes);
      fill(row, count, whole, kNothing);
      top[i] = greatest(row, whole, maximum[i]);
    }
    for (Index i = 0; i < rows; ++i) {
      Scalar* row = scores + i * scores_stride;
      const Index count = least(columns, visible + i);
      const Scalar added = powers(row, count, round_up(count, kLanes), top[i]);
      fill<Scalar>(row, count, width, 0);
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

template <class Scalar>
constexpr Scalar kLog2e = Scalar(1.4426950408889634);
template <class Scalar>
constexpr Scalar kLn2 = Scalar(0.69314718055994531);

template <class Scalar>
void forward(const ForwardItem<Scalar>& item, Scalar* memory) {
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
    const Keys<Scalar>& keys = item.keys[run];
    const Index limit = keys.causal ? item.end : keys.count;
    for (Index first = 0; first < limit; first += kForwardKeys) {
      const Index columns = least(kForwardKeys, limit - first);
      pack_panels(keys.key + first * item.key_stride, item.key_stride, columns, dim, scratch.keys);
      pack_rows(keys.value + first * item.key_stride, item.key_stride, columns, dim, padded,
                Scalar(1), scratch.values);
      for (Index m = 0; m < item.members; ++m) {
        for (Index r = 0; r < rows; r += kBlockRows) {
          const Index height = least(kBlockRows, rows - r);
          const Index visible = keys.causal ? item.begin + r + 1 - first : columns;
          const Index seen = least(columns, visible + height - 1);
          if (visible <= 0) continue;
          const Index row = m * rows + r;
          score_strip(height, seen, dim, scratch.queries + row * padded, padded, scratch.keys,
                      scratch.scores, kForwardKeys);
          SoftmaxStrip<Scalar>{scratch.scores,    scratch.maximum + row,
                               scratch.sum + row, scratch.output + row * padded,
                               kForwardKeys,      padded}
              .run(height, columns, visible, seen);
          strip(height, padded, seen, scratch.scores, kForwardKeys, Index(1), scratch.values,
                padded, scratch.output + row * padded, padded, true);
        }
      }
    }
  }
  for (Index m = 0; m < item.members; ++m) {
    for (Index r = 0; r < rows; ++r) {
      const Index row = m * rows + r;
      const Scalar factor = 1 / scratch.sum[row];
      const Scalar* from = scratch.output + row * padded;
      Scalar* to = item.output + (item.begin + r) * item.query_stride + m * dim;
      for (Index j = 0; j < dim; ++j) to[j] = from[j] * factor;
      item.lse[(item.begin + r) * item.lse_stride + m] = static_cast<Scalar>(
          scratch.maximum[row] * kLn2<Scalar> +
          static_cast<Scalar>(__builtin_log(static_cast<double>(scratch.sum[row]))));
    }
  }
}

// Backward
// -----------------------------------------------------------------------------------------

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

// Scores become probabilities, and gradients of probabilities those of scores; zeros from `count`
// to `width`.
template <class Scalar>
INFINIPIPE_FORCE void gradient_row(Scalar* probability, Scalar* grad, Index count, Index width,
                                   Scalar lse2, Scalar delta) {
  constexpr Index kLanes = Simd<Scalar>::kLanes;
  for (Index j = 0; j < count; j += kLanes) {
    Vector<Scalar> p = at(probability + j) - lse2;
    power2<Scalar>(p);
    at(probability + j) = p;
    at(grad + j) = p * (at(grad + j) - delta);
  }
  fill<Scalar>(probability, count, width, 0);
  fill<Scalar>(grad, count, width, 0);
}

// One tile of keys against one tile of queries of one head.
template <class Scalar>
struct BackwardTile {
  const BackwardItem<Scalar>& item;
  const BackwardScratch<Scalar>& scratch;
  Index member, row, rows;  // queries [row, row + rows) of the slice
  Index columns;            // keys in the tile
  Index visible;            // that the first query sees; may be < 1
  bool causal;
  bool first;  // query_grad starts here

  // Keys that query i of the tile sees.
  INFINIPIPE_FORCE Index seen(Index i) const {
    return causal ? most(0, least(columns, visible + i)) : columns;
  }

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
      const Scalar* p = scratch.probability + from * stride + c;
      const Scalar* g = scratch.score_grad + from * stride + c;
      strip(height, padded, rows - from, p, Index(1), stride, scratch.incoming + from * padded,
            padded, scratch.value_grad + c * padded, padded, true);
      strip(height, padded, rows - from, g, Index(1), stride, scratch.queries + from * padded,
            padded, scratch.key_grad + c * padded, padded, true);
    }
  }

  INFINIPIPE_FORCE void score_rows(Index r, Index height, Scalar scale) const {
    const Index dim = item.dim, padded = scratch.padded, stride = scratch.stride;
    Scalar* probability = scratch.probability + r * stride;
    Scalar* grad = scratch.score_grad + r * stride;
    const Index last = seen(r + height - 1);
    // What key strips may read.
    const Index width = least(stride, round_up(last, Simd<Scalar>::kLanes) + kBlockRows);
    score_strip(height, last, dim, scratch.queries + r * padded, padded, scratch.key_panels,
                probability, stride);
    score_strip(height, last, dim, scratch.incoming + r * padded, padded, scratch.value_panels,
                grad, stride);
    for (Index i = 0; i < height; ++i) {
      const Index query = row + r + i;
      const Index at_row = query * item.lse_stride + member;
      gradient_row(probability + i * stride, grad + i * stride, seen(r + i), width,
                   item.lse[at_row] * kLog2e<Scalar>, item.delta[at_row]);
    }
    strip(height, padded, last, grad, stride, Index(1), scratch.keys, padded, scratch.query_grad,
          padded, false);
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
template <class Scalar>
INFINIPIPE_FORCE void deltas(const BackwardItem<Scalar>& item) {
  constexpr Index kLanes = Simd<Scalar>::kLanes;
  for (Index row = 0; row < item.end; ++row) {
    for (Index m = 0; m < item.members; ++m) {
      const Index place = row * item.query_stride + m * item.dim;
      Vector<Scalar> sums{};
      Index j = 0;
      for (; j + kLanes <= item.dim; j += kLanes)
        sums += read(item.output + place + j) * read(item.output_grad + place + j);
      Scalar sum = 0;
      for (; j < item.dim; ++j) sum += item.output[place + j] * item.output_grad[place + j];
      for (Index i = 0; i < kLanes; ++i) sum += sums[i];
      item.delta[row * item.lse_stride + m] = sum;
    }
  }
}

template <class Scalar>
void backward(const BackwardItem<Scalar>& item, Scalar* memory) {
  const Index dim = item.dim, length = item.end;
  const BackwardScratch<Scalar> scratch(dim, memory);
  const Index padded = scratch.padded;
  deltas(item);
  bool first_tile = true;
  for (Index run = 0; run < item.key_runs; ++run) {
    const Keys<Scalar>& keys = item.keys[run];
    for (Index first = 0; first < keys.count; first += kBackwardKeys) {
      const Index columns = least(kBackwardKeys, keys.count - first);
      const Index place = first * item.key_stride;
      pack_panels(keys.key + place, item.key_stride, columns, dim, scratch.key_panels);
      pack_panels(keys.value + place, item.key_stride, columns, dim, scratch.value_panels);
      pack_rows(keys.key + place, item.key_stride, columns, dim, padded, Scalar(1), scratch.keys);
      fill<Scalar>(scratch.key_grad, 0, columns * padded, 0);
      fill<Scalar>(scratch.value_grad, 0, columns * padded, 0);
      for (Index m = 0; m < item.members; ++m) {
        for (Index row = keys.causal ? first : 0; row < length; row += kBackwardRows) {
          BackwardTile<Scalar>{
              item,    scratch,         m,           row,       least(kBackwardRows, length - row),
              columns, row + 1 - first, keys.causal, first_tile}
              .run();
        }
      }
      first_tile = false;
      for (Index i = 0; i < columns; ++i) {
        Scalar* key_to = keys.key_grad + place + i * item.key_stride;
        Scalar* value_to = keys.value_grad + place + i * item.key_stride;
        const Scalar* key_from = scratch.key_grad + i * padded;
        const Scalar* value_from = scratch.value_grad + i * padded;
        for (Index j = 0; j < dim; ++j) key_to[j] += key_from[j] * kLn2<Scalar>;
        for (Index j = 0; j < dim; ++j) value_to[j] += value_from[j];
      }
    }
  }
}

template <class Scalar>
constexpr Kernels<Scalar> kTable{forward_scratch<Scalar>, backward_scratch<Scalar>, forward<Scalar>,
                                 backward<Scalar>};

}  // namespace

}  // namespace infinipipe::attention_kernels
