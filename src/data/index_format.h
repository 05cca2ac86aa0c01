// Layout of a Megatron .idx file and of the .weights beside it, which reader and writer share.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace infinipipe {

inline constexpr std::array<char, 9> kIndexMagic = {'M', 'M', 'I', 'D', 'I', 'D', 'X', '\0', '\0'};
inline constexpr std::uint64_t kIndexVersion = 1;

inline constexpr std::size_t kIndexVersionAt = 9;     // u64
inline constexpr std::size_t kIndexDtypeAt = 17;      // u8
inline constexpr std::size_t kIndexSequencesAt = 18;  // u64
inline constexpr std::size_t kIndexEntriesAt = 26;    // u64, documents + 1
inline constexpr std::size_t kIndexHeaderBytes =
    34;  // then i32 lengths, i64 offsets, i64 documents

// PREFIX.weights: a header, then a byte for each token of .bin, 0 or 1.
inline constexpr std::array<char, 8> kWeightsMagic = {'I', 'P', 'W', 'E', 'I', 'G', 'H', 'T'};
inline constexpr std::uint64_t kWeightsVersion = 1;

inline constexpr std::size_t kWeightsVersionAt = 8;  // u64
inline constexpr std::size_t kWeightsTokensAt = 16;  // u64
inline constexpr std::size_t kWeightsIndexAt = 24;   // 32 hex digits, the hash of .idx
inline constexpr std::size_t kWeightsHeaderBytes = 56;

}  // namespace infinipipe
