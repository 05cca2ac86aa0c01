// What every reader of JSON refuses, in the same words.
#pragma once

#include <cstddef>
#include <string_view>

namespace infinipipe {

// Objects and arrays in one another. Readers may recurse.
inline constexpr int kMaxJsonDepth = 64;

// All throw InputError at `where`.

// The text is no JSON at a byte, counted from 1; `near`: what stands there, may be empty.
[[noreturn]] void fail_json_syntax(std::string_view where, std::size_t byte, std::string_view near);
[[noreturn]] void fail_json_key_twice(std::string_view where, std::string_view key);
void require_json_depth(std::string_view where, int depth);

}  // namespace infinipipe
