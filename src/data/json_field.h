// Fields of a JSON object, found in the text without building the document.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace infinipipe {

// Checks the whole text as parse_json() does, and returns the string that `field` holds as it
// stands between its quotes, in `text`. The field is the one of that very name; else, where the
// name has dots, "a.b" is b of the object a. Beyond the text it takes eight bytes a key of an
// object. `text` must be valid UTF-8.
// Throws InputError naming `where` and the byte for what is no JSON, a key that an object has twice
// and deep nesting; naming the field where it is missing or holds something else.
std::string_view find_json_string(std::string_view text, std::string_view field,
                                  std::string_view where);

// Checks the text in the same way. Values as they stand in the text; empty for what is not there
// and for null.
struct JsonValues {
  std::string_view field;                // as find_json_string() finds it, of any type
  std::vector<std::string_view> others;  // of these names in the object itself, in their order
};
// Throws InputError as find_json_string() does, but not for what is missing or of another type.
JsonValues find_json_values(std::string_view text, std::string_view field,
                            std::span<const std::string_view> others, std::string_view where);

// The text of a string that find_json_string() returned, a part at a time. Not thread-safe.
class JsonStringReader final {
 public:
  explicit JsonStringReader(std::string_view raw) : rest_(raw) {}

  // What comes next, at most `bytes` and up to three more, which a character may need. Valid until
  // the next call. `bytes` must not be 0.
  std::string_view next(std::size_t bytes);
  bool at_end() const { return rest_.empty(); }

 private:
  void undo_escape();

  std::string_view rest_;
  std::string buffer_;
};

}  // namespace infinipipe
