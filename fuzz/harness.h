// What every harness is: bytes in, nothing out. A parser may refuse bytes by throwing
// infinipipe::Error; whatever else happens is a finding.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "infinipipe/base/error.h"

// libFuzzer's entry point. Returns 0.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace infinipipe::fuzz {

// Ends the process with a message, in every build type.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

inline std::string_view text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Seeds of binary formats are kept as text: after a first line "hex: what it is", pairs of digits.
// Returns the bytes that such a file stands for; any other file is what it is.
inline std::string seed_bytes(std::string file) {
  if (!file.starts_with("hex: ")) return file;
  std::string bytes;
  int high = -1;
  for (std::size_t i = std::min(file.find('\n'), file.size()); i < file.size(); ++i) {
    const std::size_t digit = std::string_view("0123456789abcdef").find(file[i]);
    if (digit == std::string_view::npos) continue;
    if (high < 0) {
      high = static_cast<int>(digit);
    } else {
      bytes += static_cast<char>(16 * high + static_cast<int>(digit));
      high = -1;
    }
  }
  return bytes;
}

// True if act() ended without an Error. The message of a refusal must be one line.
template <class Act>
bool accepts(const Act& act) {
  try {
    act();
    return true;
  } catch (const Error& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos,
            "an error of more than one line");
    return false;
  }
}

}  // namespace infinipipe::fuzz
