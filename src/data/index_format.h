// Layout of a Megatron .idx file, which reader and writer share.
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

}  // namespace infinipipe
