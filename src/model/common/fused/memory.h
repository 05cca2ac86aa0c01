// Numbers in memory: float32 and bfloat16, read and written 16 bytes at a time. Arithmetic is
// float32.
#pragma once

#include <cstdint>

#include "model/common/fused/context.h"
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#else
#include <cstring>
#endif

namespace infinipipe::fused {

struct Bfloat16 {
  std::uint16_t bits;
};

constexpr int kAccess = 16;  // bytes of one access of a thread
template <class T>
constexpr int kPack = kAccess / static_cast<int>(sizeof(T));  // elements of one

INFINIPIPE_KERNEL float widen(float x) { return x; }
INFINIPIPE_KERNEL float widen(Bfloat16 x) {
  return __builtin_bit_cast(float, static_cast<std::uint32_t>(x.bits) << 16);
}

// Rounds to nearest even; NaN stays NaN.
INFINIPIPE_KERNEL void narrow(float& to, float from) { to = from; }
INFINIPIPE_KERNEL void narrow(Bfloat16& to, float from) {
#if defined(__CUDACC__)
  to.bits = __bfloat16_as_ushort(__float2bfloat16_rn(from));
#else
  const auto bits = __builtin_bit_cast(std::uint32_t, from);
  const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  to.bits = static_cast<std::uint16_t>(from != from ? (bits >> 16) | 0x40U : rounded);
#endif
}

// 16 bytes as they stand in memory: kPack<T> elements, kept in four registers.
template <class T>
struct Pack {
  std::uint32_t words[4];

  INFINIPIPE_KERNEL float operator[](int i) const {
    if constexpr (sizeof(T) == 4) {
      return __builtin_bit_cast(float, words[i]);
    } else {
      const std::uint32_t word = words[i / 2];
      return __builtin_bit_cast(float, i % 2 == 0 ? word << 16 : word & 0xffff0000U);
    }
  }
  INFINIPIPE_KERNEL void set(const float (&from)[kPack<T>]) {
    INFINIPIPE_UNROLL
    for (int w = 0; w < 4; ++w) {
      if constexpr (sizeof(T) == 4) {
        words[w] = __builtin_bit_cast(std::uint32_t, from[w]);
      } else {
        Bfloat16 low, high;
        narrow(low, from[2 * w]);
        narrow(high, from[2 * w + 1]);
        words[w] = low.bits | static_cast<std::uint32_t>(high.bits) << 16;
      }
    }
  }
};

// The pack at `from`, whose address is a multiple of 16.
template <class T>
INFINIPIPE_KERNEL Pack<T> load_pack(const T* from) {
  Pack<T> pack;
#if defined(__CUDACC__)
  const uint4 raw = *reinterpret_cast<const uint4*>(from);
  pack.words[0] = raw.x, pack.words[1] = raw.y, pack.words[2] = raw.z, pack.words[3] = raw.w;
#else
  std::memcpy(pack.words, __builtin_assume_aligned(from, kAccess), kAccess);
#endif
  return pack;
}
template <class T>
INFINIPIPE_KERNEL void store_pack(T* to, const Pack<T>& pack) {
#if defined(__CUDACC__)
  *reinterpret_cast<uint4*>(to) =
      make_uint4(pack.words[0], pack.words[1], pack.words[2], pack.words[3]);
#else
  std::memcpy(__builtin_assume_aligned(to, kAccess), pack.words, kAccess);
#endif
}

// kCount elements at an address that is a multiple of 16; kCount is one of kPack<T>.
template <int kCount, class T>
INFINIPIPE_KERNEL void load(const T* from, float (&to)[kCount]) {
  static_assert(kCount % kPack<T> == 0);
  INFINIPIPE_UNROLL
  for (int begin = 0; begin < kCount; begin += kPack<T>) {
    const Pack<T> pack = load_pack(from + begin);
    INFINIPIPE_UNROLL
    for (int i = 0; i < kPack<T>; ++i) to[begin + i] = pack[i];
  }
}
template <int kCount, class T>
INFINIPIPE_KERNEL void store(T* to, const float (&from)[kCount]) {
  static_assert(kCount % kPack<T> == 0);
  INFINIPIPE_UNROLL
  for (int begin = 0; begin < kCount; begin += kPack<T>) {
    float part[kPack<T>];
    INFINIPIPE_UNROLL
    for (int i = 0; i < kPack<T>; ++i) part[i] = from[begin + i];
    Pack<T> pack;
    pack.set(part);
    store_pack(to + begin, pack);
  }
}

}  // namespace infinipipe::fused
