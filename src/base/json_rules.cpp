#include "base/json_rules.h"

#include <string>

#include "infinipipe/base/error.h"

namespace infinipipe {

void fail_json_syntax(std::string_view where, std::size_t byte, std::string_view near) {
  throw InputError(where,
                   "not JSON at byte " + std::to_string(byte) +
                       (near.empty() ? "" : " near '" + std::string(near) + "'"),
                   "expected a JSON document", "repair or rewrite the file");
}

void fail_json_key_twice(std::string_view where, std::string_view key) {
  throw InputError(where, "key \"" + std::string(key) + "\" stands twice", "expected each key once",
                   "remove one");
}

void require_json_depth(std::string_view where, int depth) {
  if (depth <= kMaxJsonDepth) return;
  throw InputError(where, "JSON nested deeper than " + std::to_string(kMaxJsonDepth));
}

}  // namespace infinipipe
