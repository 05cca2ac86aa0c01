// JSON documents: reading with exact complaints, canonical text and hash, whole-file writes.
// Owner of the nlohmann/json dependency's conventions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace infinipipe {

using Json = nlohmann::json;  // objects sorted by key

// Parses text, the whole of which must be one document. Throws InputError naming `where` and the
// byte of the first mistake, also for invalid UTF-8, a NUL, duplicate keys and nesting deeper than
// 64.
Json parse_json(std::string_view text, std::string_view where);
// A file over `limit` bytes is refused before it is read.
Json read_json_file(const std::string& path, std::size_t limit = std::size_t{1} << 30);

// Keys sorted, no spaces, shortest round-trip numbers: equal values give equal text.
std::string canonical_json(const Json& value);
// 32 hex digits of XXH3-128 over canonical_json(value).
std::string hash_json(const Json& value);

// A JSON value together with where it stands, for messages like
// `profile.json: forward.seconds_per_token: found -1, expected a number >= 0`.
// Does not own the value; valid as long as the document lives. Every accessor throws InputError.
class JsonView {
 public:
  JsonView(const Json& value, std::string where, std::string path = {});

  const Json& json() const { return *value_; }
  const std::string& where() const { return where_; }
  const std::string& path() const { return path_; }

  bool has(std::string_view key) const;                             // false also for null
  JsonView at(std::string_view key) const;                          // member of an object
  JsonView at(std::size_t index) const;                             // element of an array
  std::size_t size() const;                                         // of an array
  void for_each(const std::function<void(JsonView)>& visit) const;  // elements of an array

  std::string string() const;
  bool boolean() const;
  // A finite number in [low, high].
  double number(double low = std::numeric_limits<double>::lowest(),
                double high = std::numeric_limits<double>::max()) const;
  // A whole number in [low, high]; 3.0 counts as whole.
  std::int64_t integer(std::int64_t low = std::numeric_limits<std::int64_t>::min(),
                       std::int64_t high = std::numeric_limits<std::int64_t>::max()) const;
  std::vector<double> numbers(double low = std::numeric_limits<double>::lowest()) const;
  std::vector<std::int64_t> integers(std::int64_t low, std::int64_t high) const;

  // With a default for a member that is absent or null.
  double number_or(std::string_view key, double fallback, double low = 0.0) const;
  std::int64_t integer_or(std::string_view key, std::int64_t fallback, std::int64_t low = 0) const;
  std::string string_or(std::string_view key, std::string_view fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;

  // Throws: found `found`, expected `expected`; next.
  [[noreturn]] void fail(std::string_view found, std::string_view expected,
                         std::string_view next = {}) const;
  // fail() with the value itself (shortened) as what was found.
  [[noreturn]] void fail(std::string_view expected) const;

 private:
  const Json* value_;
  std::string where_;
  std::string path_;
};

// Requires {"format": format, "version": 1..max_version}; returns the version.
int check_format(const JsonView& document, std::string_view format, int max_version = 1);

}  // namespace infinipipe
