// What is valid UTF-8, and what stands in for bytes that are not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace infinipipe {

inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
inline std::string_view without_byte_order_mark(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text;
}

// Position of the first byte that is no UTF-8 (no surrogates, no overlong forms, nothing above
// U+10FFFF); npos if there is none.
std::size_t find_invalid_utf8(std::string_view text);

struct Utf8Repair {
  std::string text;
  std::int64_t invalid_bytes = 0;
};
// Every maximal invalid part becomes one U+FFFD (Unicode 15, section 3.9).
Utf8Repair repair_utf8(std::string_view text);

// The text itself where it is valid, else `repaired`, which then holds it repaired.
std::string_view with_valid_utf8(std::string_view text, std::string& repaired);

// The largest n <= text.size() such that no character is cut at n; only characters that are valid
// so far count. Above 0 unless the text is a part of one character.
std::size_t whole_characters(std::string_view text);

}  // namespace infinipipe
