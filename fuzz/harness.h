// What every harness is: bytes in, nothing out. A parser may refuse bytes by throwing
// infinipipe::Error; whatever else happens is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
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
