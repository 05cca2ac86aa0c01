#include "base/utf8.h"

#include <algorithm>
#include <array>

namespace infinipipe {
namespace {

struct Part {
  std::size_t bytes;  // at least 1
  bool valid;
  bool cut;  // the text ends within a character that is valid so far
};

// The character or maximal invalid part at the start of a text that is not empty. Table 3-7 of the
// Unicode standard: only the second byte's range depends on the first.
Part first_part(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  std::size_t length = 0;
  unsigned low = 0x80;
  unsigned high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  } else {
    return {1, false, false};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {i, false, true};
    if (byte(i) < low || byte(i) > high) return {i, false, false};
    low = 0x80;
    high = 0xbf;
  }
  return {length, true, false};
}

}  // namespace

std::size_t find_invalid_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Part part = first_part(text.substr(at));
    if (!part.valid) return at;
    at += part.bytes;
  }
  return std::string_view::npos;
}

Utf8Repair repair_utf8(std::string_view text) {
  Utf8Repair repair;
  while (!text.empty()) {
    const std::size_t good = std::min(find_invalid_utf8(text), text.size());
    repair.text += text.substr(0, good);
    text.remove_prefix(good);
    if (text.empty()) break;
    const std::size_t bad = first_part(text).bytes;
    repair.text += "\xef\xbf\xbd";
    repair.invalid_bytes += static_cast<std::int64_t>(bad);
    text.remove_prefix(bad);
  }
  return repair;
}

std::string_view with_valid_utf8(std::string_view text, std::string& repaired) {
  if (find_invalid_utf8(text) == std::string_view::npos) return text;
  repaired = repair_utf8(text).text;
  return repaired;
}

std::size_t whole_characters(std::string_view text) {
  for (std::size_t tail = 1; tail <= std::min<std::size_t>(3, text.size()); ++tail) {
    const std::size_t at = text.size() - tail;
    if ((static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) continue;  // inside a character
    return first_part(text.substr(at)).cut ? at : text.size();
  }
  return text.size();
}

}  // namespace infinipipe
