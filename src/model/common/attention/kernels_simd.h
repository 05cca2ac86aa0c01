// Vectors, powers of two and register blocks for one instruction set; see kernels_body.h.
#pragma once

#include <cstdint>

namespace infinipipe::attention_kernels {

namespace {

using Index = std::int64_t;

#define INFINIPIPE_FORCE inline __attribute__((always_inline))
#define INFINIPIPE_UNROLL _Pragma("GCC unroll 16")

constexpr Index kBlockRows = 6;
constexpr Index kBlockVectors = INFINIPIPE_BLOCK_VECTORS;

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
INFINIPIPE_FORCE const typename Simd<Scalar>::Unaligned& read(const Scalar* address) {
  return *reinterpret_cast<const typename Simd<Scalar>::Unaligned*>(address);
}
template <class Scalar>
INFINIPIPE_FORCE typename Simd<Scalar>::Unaligned& at(Scalar* address) {
  return *reinterpret_cast<typename Simd<Scalar>::Unaligned*>(address);
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
      Scalar* address = c + i * c_stride + j * kLanes;
      at(address) = add ? at(address) + sums[i][j] : sums[i][j];
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

template <class Scalar>
constexpr Scalar kLog2e = Scalar(1.4426950408889634);
template <class Scalar>
constexpr Scalar kLn2 = Scalar(0.69314718055994531);

}  // namespace

}  // namespace infinipipe::attention_kernels
