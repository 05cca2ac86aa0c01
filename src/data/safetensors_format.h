// Limits of the safetensors format that reader and writer share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "data/safetensors.h"

namespace infinipipe {

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;
inline constexpr std::size_t kMaxTensorRank = 64;
inline constexpr std::size_t kMaxSafetensorsMetadata = 100'000;  // entries

std::string known_tensor_dtypes();  // "F64, F32, ..."

// Bytes of a tensor; empty where the dtype is not known, a dimension is below 0 or the product does
// not fit 63 bits.
std::optional<std::uint64_t> tensor_bytes(const TensorInfo& info);

}  // namespace infinipipe
