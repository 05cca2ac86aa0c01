// Where the elements of a JSON array stand, found without holding the array.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace infinipipe {

// Reads an array's text as a stream, from behind its '[' on, and tells where its elements end. It
// looks at strings, brackets and commas alone; whether an element is JSON shows when it is parsed.
class JsonArrayScanner final {
 public:
  enum class Event {
    kMore,     // the text ends within an element
    kElement,  // one ends at a comma, which is used
    kLast,     // one ends at the array's ']', which is used
  };
  struct Step {
    Event event = Event::kMore;
    std::size_t used = 0;     // of the text
    std::size_t element = 0;  // bytes of it that belong to the element: used, less the separator
  };

  // The text that follows what was used before.
  Step next(std::string_view text);

  std::int64_t line_breaks() const { return line_breaks_; }  // in what was used so far

 private:
  bool in_string_ = false;
  bool escaped_ = false;
  std::int64_t depth_ = 0;
  std::int64_t line_breaks_ = 0;
};

}  // namespace infinipipe
