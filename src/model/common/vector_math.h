// Scalar helpers that compilers vectorise: conversions, lane sums and exp.
#pragma once

#include <c10/util/BFloat16.h>

#include <bit>
#include <cmath>
#include <cstdint>

// Functions under INFINIPIPE_CLONED are compiled for AVX2 as well, chosen at load time. Sanitizers
// do not get on with the loader's resolvers.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define INFINIPIPE_CLONED __attribute__((target_clones("avx2", "default")))
#else
#define INFINIPIPE_CLONED
#endif
#define INFINIPIPE_INLINE inline __attribute__((always_inline))

namespace infinipipe::kernels {

constexpr int kLanes = 16;

INFINIPIPE_INLINE double load(double x) { return x; }
INFINIPIPE_INLINE float load(float x) { return x; }
INFINIPIPE_INLINE float load(c10::BFloat16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.x) << 16);
}

INFINIPIPE_INLINE void store(double& out, double x) { out = x; }
INFINIPIPE_INLINE void store(float& out, float x) { out = x; }
// Round to nearest even; a NaN keeps a non-zero mantissa.
INFINIPIPE_INLINE void store(c10::BFloat16& out, float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const std::uint32_t quiet = (bits >> 16) | 0x40U;
  out.x = static_cast<std::uint16_t>(x != x ? quiet : rounded);
}

// 2^n from `rounded` = n + 1.5 x 2^23 (or 2^52), the sum whose low bits hold n. Below the
// exponents' range 0, above it the greatest power. Whole-number clamps: those on floating point
// hinder vectorising.
INFINIPIPE_INLINE float power_of_two(float rounded) {
  const std::int32_t biased = std::bit_cast<std::int32_t>(rounded) - (0x4b400000 - 127);
  const std::int32_t low = biased < 0 ? 0 : biased;
  const std::int32_t exponent = low > 254 ? 254 : low;
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent) << 23);
}
INFINIPIPE_INLINE double power_of_two(double rounded) {
  const std::int64_t biased = std::bit_cast<std::int64_t>(rounded) - (0x4338000000000000 - 1023);
  const std::int64_t low = biased < 0 ? 0 : biased;
  const std::int64_t exponent = low > 2046 ? 2046 : low;
  return std::bit_cast<double>(static_cast<std::uint64_t>(exponent) << 52);
}

// Adding it rounds a small number to a whole one.
template <class Acc>
inline constexpr Acc kRound = sizeof(Acc) == 4 ? Acc(12582912.0) : Acc(6755399441055744.0);

// 2^r for |r| <= 1/2; float32: Cephes' exp2f, float64: Taylor's series to r^13.
INFINIPIPE_INLINE float fraction_power(float r) {
  const float r2 = r * r;
  const float first = 6.931472028550421e-1F + 2.402264791363012e-1F * r;
  const float second = 5.550332471162809e-2F + 9.618437357674640e-3F * r;
  const float third = 1.339887440266574e-3F + 1.535336188319500e-4F * r;
  return 1.0F + r * (first + r2 * (second + r2 * third));
}
INFINIPIPE_INLINE double fraction_power(double r) {
  const double r2 = r * r;
  double even = 2.5678435993488196e-11;
  even = even * r2 + 7.0549116208011209e-09;
  even = even * r2 + 1.3215486790144305e-06;
  even = even * r2 + 0.00015403530393381606;
  even = even * r2 + 0.0096181291076284769;
  even = even * r2 + 0.24022650695910069;
  even = even * r2 + 1;
  double odd = 1.3691488853904124e-12;
  odd = odd * r2 + 4.4455382718708101e-10;
  odd = odd * r2 + 1.0178086009239696e-07;
  odd = odd * r2 + 1.5252733804059838e-05;
  odd = odd * r2 + 0.0013333558146428441;
  odd = odd * r2 + 0.055504108664821576;
  odd = odd * r2 + 0.69314718055994529;
  return even + r * odd;
}

// e^x within a few units in the last place for |x| up to the exponents' range: below it 0, above it
// saturated (arguments beyond 10^4 are not served). NaN stays NaN, infinities become NaN. ln 2 is
// taken off in two parts so that no digit is lost.
INFINIPIPE_INLINE float exponential(float x) {
  constexpr float kLog2e = 1.44269504F;
  const float rounded = x * kLog2e + kRound<float>;
  const float n = rounded - kRound<float>;
  const float r = (x - n * 0.693359375F) - n * -2.12194440e-4F;
  return fraction_power(r * kLog2e) * power_of_two(rounded);
}
INFINIPIPE_INLINE double exponential(double x) {
  constexpr double kLog2e = 1.4426950408889634;
  const double rounded = x * kLog2e + kRound<double>;
  const double n = rounded - kRound<double>;
  const double r = (x - n * 6.93147180369123816490e-1) - n * 1.90821492927058770002e-10;
  return fraction_power(r * kLog2e) * power_of_two(rounded);
}

// Sum over i in [0, count) of term(i), in kLanes partial sums.
template <class Acc, class Term>
INFINIPIPE_INLINE Acc lane_sum(std::int64_t count, const Term& term) {
  Acc lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  Acc sum = 0;
  for (; i < count; ++i) sum += term(i);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return sum + lanes[0];
}

// Greatest of `floor` and term(i) over i in [0, count); a NaN may be passed over.
template <class Acc, class Term>
INFINIPIPE_INLINE Acc lane_max(std::int64_t count, Acc floor, const Term& term) {
  Acc lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = floor;
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const Acc x = term(i + lane);
      lanes[lane] = x > lanes[lane] ? x : lanes[lane];
    }
  }
  Acc most = floor;
  for (; i < count; ++i) {
    const Acc x = term(i);
    most = x > most ? x : most;
  }
  for (int lane = 0; lane < kLanes; ++lane) most = lanes[lane] > most ? lanes[lane] : most;
  return most;
}

}  // namespace infinipipe::kernels
