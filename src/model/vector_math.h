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

// Within 2 units in the last place; arguments outside [-708, 709] count as the nearest of these,
// NaN stays NaN. Taylor's series to r^13 on |r| <= ln(2) / 2.
INFINIPIPE_INLINE double exponential(double x) {
  x = x < -708.0 ? -708.0 : x;
  x = x > 709.0 ? 709.0 : x;
  constexpr double kRound = 6755399441055744.0;  // 1.5 x 2^52: adding it rounds to a whole number
  const double shifted = x * 1.4426950408889634 + kRound;
  const double n = shifted - kRound;
  const double r = (x - n * 6.93147180369123816490e-1) - n * 1.90821492927058770002e-10;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * (r * r) + r + 1.0;
  const std::uint64_t exponent = (std::bit_cast<std::uint64_t>(shifted) + 1023U) << 52;
  return p * std::bit_cast<double>(exponent);
}
// Within 2 units in the last place; arguments outside [-87.3, 88.3] count as the nearest of these,
// NaN stays NaN.
INFINIPIPE_INLINE float exponential(float x) {
  x = x < -87.3F ? -87.3F : x;
  x = x > 88.3F ? 88.3F : x;
  constexpr float kRound = 12582912.0F;  // 1.5 x 2^23: adding it rounds to a whole number
  const float shifted = x * 1.44269504F + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375F) - n * -2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * (r * r) + r + 1.0F;
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) + 127U) << 23;
  return p * std::bit_cast<float>(exponent);
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
