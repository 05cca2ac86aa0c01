#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "data/safetensors_format.h"

namespace infinipipe {
namespace {

using Width = std::pair<std::string_view, std::size_t>;
// clang-format off
constexpr std::array<Width, 16> kWidths = {{
    {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1},
    {"U64", 8}, {"U32", 4}, {"U16", 2}, {"U8", 1}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
    {"C64", 8}}};
// clang-format on

}  // namespace

std::size_t tensor_dtype_width(std::string_view dtype) {
  const auto* found = std::find_if(kWidths.begin(), kWidths.end(),
                                   [&](const Width& known) { return known.first == dtype; });
  return found == kWidths.end() ? 0 : found->second;
}

std::string known_tensor_dtypes() {
  std::string text;
  for (const auto& [name, width] : kWidths) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

std::optional<std::uint64_t> tensor_bytes(const TensorInfo& info) {
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::uint64_t bytes = tensor_dtype_width(info.dtype);
  if (bytes == 0) return std::nullopt;
  for (const std::int64_t size : info.shape) {
    if (size < 0) return std::nullopt;
    const auto factor = static_cast<std::uint64_t>(size);
    if (factor != 0 && bytes > kMax / factor) return std::nullopt;
    bytes *= factor;
  }
  return bytes;
}

}  // namespace infinipipe
