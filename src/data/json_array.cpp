#include "data/json_array.h"

namespace infinipipe {

JsonArrayScanner::Step JsonArrayScanner::next(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line_breaks_;
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
      continue;
    }
    if (c == '"') {
      in_string_ = true;
    } else if (c == '[' || c == '{') {
      ++depth_;
    } else if ((c == ']' || c == '}') && depth_ > 0) {
      --depth_;
    } else if (c == ']') {
      return {Event::kLast, i + 1, i};
    } else if (c == ',' && depth_ == 0) {
      return {Event::kElement, i + 1, i};
    }
  }
  return {Event::kMore, text.size(), text.size()};
}

}  // namespace infinipipe
