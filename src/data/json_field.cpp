#include "data/json_field.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <set>
#include <vector>

#include "base/json_rules.h"
#include "base/utf8.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::size_t kMostShown = 48;  // bytes of a value that a message quotes

std::string shown(std::string_view value) {
  if (value.size() <= kMostShown) return std::string(value);
  value = value.substr(0, kMostShown - 3);
  return std::string(value.substr(0, whole_characters(value))) + "...";
}

// The four digits of a \u, which were checked.
unsigned code_unit(std::string_view digits) {
  unsigned value = 0;
  std::from_chars(digits.data(), digits.data() + 4, value, 16);
  return value;
}

bool is_high_surrogate(unsigned unit) { return unit >= 0xd800 && unit <= 0xdbff; }
bool is_low_surrogate(unsigned unit) { return unit >= 0xdc00 && unit <= 0xdfff; }

void append_utf8(unsigned code, std::string& text) {
  const auto put = [&](unsigned byte) { text += static_cast<char>(byte); };
  const auto tail = [&](int shift) { put(0x80 | ((code >> shift) & 0x3f)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | (code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    put(0xe0 | (code >> 12));
    tail(6);
    tail(0);
  } else {
    put(0xf0 | (code >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string unescaped(std::string_view raw) {
  return std::string(JsonStringReader(raw).next(std::string_view::npos));
}

class FieldFinder final {
 public:
  FieldFinder(std::string_view text, std::string_view field, std::string_view where,
              std::span<const std::string_view> others = {})
      : text_(text),
        field_(field),
        where_(where),
        names_(others.begin(), others.end()),
        others_(others.size()) {
    if (field.find('.') == std::string_view::npos) return;
    for (std::string_view rest = field;;) {
      const std::size_t dot = rest.find('.');
      steps_.push_back({rest.substr(0, dot), {}});
      if (dot == std::string_view::npos) break;
      rest.remove_prefix(dot + 1);
    }
  }

  std::string_view find() {
    read_object();
    return string_of(field_value());
  }

  JsonValues values() {
    read_object();
    JsonValues found{direct_, others_};
    if (direct_.empty() && !steps_.empty()) {
      const bool is_there = std::all_of(steps_.begin(), steps_.end(), [&](const Step& step) {
        return &step == &steps_.back() || step.value.starts_with('{');
      });
      if (is_there) found.field = steps_.back().value;
    }
    if (found.field == "null") found.field = {};
    for (std::string_view& other : found.others) {
      if (other == "null") other = {};
    }
    return found;
  }

 private:
  void read_object() {
    if (text_.starts_with(kByteOrderMark)) at_ = kByteOrderMark.size();
    skip_blanks();
    const std::size_t begin = at_;
    value(0);
    const std::string_view document = text_.substr(begin, at_ - begin);
    skip_blanks();
    if (at_ != text_.size()) fail(at_);
    if (document.front() != '{') {
      complain("", shown(document), "an object with \"" + std::string(field_) + "\"");
    }
  }

  // A part of a name with dots, and what the document has there.
  struct Step {
    std::string_view name;
    std::string_view value;
  };
  struct Target {
    std::string_view* value = nullptr;  // where to note what the key holds
    std::size_t depth = kNotOnTheWay;   // steps that lead to it
  };
  static constexpr std::size_t kNotOnTheWay = ~std::size_t{0};

  [[noreturn]] void fail(std::size_t at) const {
    const std::string_view near = text_.substr(std::min(at, text_.size())).substr(0, 40);
    fail_json_syntax(where_, at + 1, near.substr(0, whole_characters(near)));
  }
  [[noreturn]] void complain(std::string_view path, const std::string& found,
                             const std::string& expected, std::string_view next = {}) const {
    throw InputError(std::string(where_) + (path.empty() ? "" : ": " + std::string(path)),
                     "found " + found, "expected " + expected, next);
  }

  // What the field holds, as it stands in the text.
  std::pair<std::string_view, std::string_view> field_value() const {
    if (!direct_.empty()) return {field_, direct_};
    if (steps_.empty()) complain(field_, "nothing", "a value", "add it");
    for (std::size_t i = 0;; ++i) {
      const Step& step = steps_[i];
      const auto end = static_cast<std::size_t>(step.name.data() - field_.data());
      const std::string_view path = field_.substr(0, end + step.name.size());
      if (step.value.empty()) complain(path, "nothing", "a value", "add it");
      if (i + 1 == steps_.size()) return {path, step.value};
      if (step.value.front() != '{') complain(path, shown(step.value), "an object");
    }
  }

  std::string_view string_of(const std::pair<std::string_view, std::string_view>& found) const {
    const auto& [path, value] = found;
    if (value.front() != '"') complain(path, shown(value), "a string");
    return value.substr(1, value.size() - 2);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }  // no JSON has a NUL
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skip_blanks() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  // `depth`: the steps that lead to this value.
  void value(std::size_t depth) {
    switch (peek()) {
      case '{':
        object(depth);
        break;
      case '[':
        array();
        break;
      case '"':
        string();
        break;
      case 't':
        word("true");
        break;
      case 'f':
        word("false");
        break;
      case 'n':
        word("null");
        break;
      default:
        number();
    }
  }

  void enter() {
    ++at_;
    require_json_depth(where_, ++nesting_);
  }

  void array() {
    enter();
    skip_blanks();
    if (!take(']')) {
      do {
        skip_blanks();
        value(kNotOnTheWay);
        skip_blanks();
      } while (take(','));
      if (!take(']')) fail(at_);
    }
    --nesting_;
  }

  void object(std::size_t depth) {
    enter();
    const std::size_t begin = at_;
    const auto first = static_cast<std::ptrdiff_t>(hashes_.size());
    members([&](std::string_view key) {
      hashes_.push_back(key.find('\\') == std::string_view::npos
                            ? std::hash<std::string_view>{}(key)
                            : std::hash<std::string>{}(unescaped(key)));
      return target(key, depth);
    });
    std::sort(hashes_.begin() + first, hashes_.end());
    const bool twice = std::adjacent_find(hashes_.begin() + first, hashes_.end()) != hashes_.end();
    hashes_.resize(static_cast<std::size_t>(first));
    if (twice) require_each_key_once(begin);
    --nesting_;
  }

  // Two keys of the object that begins here have the same hash.
  void require_each_key_once(std::size_t begin) {
    at_ = begin;
    std::set<std::string> keys;
    members([&](std::string_view key) {
      const auto [name, is_new] = keys.insert(unescaped(key));
      if (!is_new) fail_json_key_twice(where_, shown(*name));
      return Target{};
    });
  }

  // From behind the '{' to behind the '}'.
  template <class OnKey>
  void members(const OnKey& on_key) {
    skip_blanks();
    if (take('}')) return;
    do {
      skip_blanks();
      if (peek() != '"') fail(at_);
      const Target target = on_key(string());
      skip_blanks();
      if (!take(':')) fail(at_);
      skip_blanks();
      const std::size_t begin = at_;
      value(target.depth);
      if (target.value != nullptr) *target.value = text_.substr(begin, at_ - begin);
      skip_blanks();
    } while (take(','));
    if (!take('}')) fail(at_);
  }

  Target target(std::string_view raw, std::size_t depth) {
    if (depth == kNotOnTheWay) return {};
    std::string buffer;
    if (raw.find('\\') != std::string_view::npos) raw = buffer = unescaped(raw);
    if (depth == 0 && raw == field_) return {&direct_, kNotOnTheWay};
    if (depth == 0) {
      const auto name = std::find(names_.begin(), names_.end(), raw);
      if (name != names_.end()) return {&others_[name - names_.begin()], kNotOnTheWay};
    }
    if (depth < steps_.size() && raw == steps_[depth].name) {
      return {&steps_[depth].value, depth + 1};
    }
    return {};
  }

  // What is between the quotes.
  std::string_view string() {
    const std::size_t begin = ++at_;
    while (true) {
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
             static_cast<unsigned char>(text_[at_]) >= 0x20) {
        ++at_;
      }
      if (take('"')) return text_.substr(begin, at_ - 1 - begin);
      if (peek() != '\\') fail(at_);
      escape();
    }
  }

  void escape() {
    const std::size_t begin = at_++;
    const char kind = peek();
    if (kind != 'u') {
      if (std::string_view("\"\\/bfnrt").find(kind) == std::string_view::npos) fail(begin);
      ++at_;
      return;
    }
    const unsigned unit = hex_digits(begin);
    if (is_low_surrogate(unit)) fail(begin);
    if (!is_high_surrogate(unit)) return;
    if (!take('\\') || peek() != 'u' || !is_low_surrogate(hex_digits(begin))) fail(begin);
  }

  unsigned hex_digits(std::size_t begin) {
    const std::string_view digits = text_.substr(++at_).substr(0, 4);
    if (digits.size() < 4 ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != std::string_view::npos) {
      fail(begin);
    }
    at_ += 4;
    return code_unit(digits);
  }

  void word(std::string_view expected) {
    if (!text_.substr(at_).starts_with(expected)) fail(at_);
    at_ += expected.size();
  }

  void digits() {
    const std::size_t begin = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    if (at_ == begin) fail(at_);
  }

  void number() {
    const std::size_t begin = at_;
    take('-');
    if (!take('0')) digits();
    if (take('.')) digits();
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
    // A number that no double holds is refused.
    double number = 0.0;
    const std::string_view digits = text_.substr(begin, at_ - begin);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error == std::errc::result_out_of_range &&
        !std::isfinite(std::strtod(std::string(digits).c_str(), nullptr))) {
      fail(begin);
    }
  }

  std::string_view text_;
  std::string_view field_;
  std::string_view where_;
  std::vector<std::string_view> names_;   // of what else is looked for
  std::vector<std::string_view> others_;  // what these hold
  std::size_t at_ = 0;
  int nesting_ = 0;
  std::string_view direct_;          // value of the field of that very name; empty: none
  std::vector<Step> steps_;          // of a name with dots
  std::vector<std::size_t> hashes_;  // of the keys of the objects that are open
};

}  // namespace

std::string_view find_json_string(std::string_view text, std::string_view field,
                                  std::string_view where) {
  return FieldFinder(text, field, where).find();
}

JsonValues find_json_values(std::string_view text, std::string_view field,
                            std::span<const std::string_view> others, std::string_view where) {
  return FieldFinder(text, field, where, others).values();
}

std::string_view JsonStringReader::next(std::size_t bytes) {
  const std::string_view part = rest_.substr(0, bytes);
  if (part.find('\\') == std::string_view::npos) {
    rest_.remove_prefix(part.size());
    return part;
  }
  buffer_.clear();
  while (!rest_.empty() && buffer_.size() < bytes) {
    const std::string_view room = rest_.substr(0, bytes - buffer_.size());
    const std::size_t plain = std::min(room.find('\\'), room.size());
    buffer_.append(rest_, 0, plain);
    rest_.remove_prefix(plain);
    if (plain < room.size()) undo_escape();
  }
  return buffer_;
}

void JsonStringReader::undo_escape() {
  constexpr std::string_view kShort = "bfnrt";
  constexpr std::string_view kMeaning = "\b\f\n\r\t";
  const char kind = rest_[1];
  if (kind != 'u') {
    const std::size_t at = kShort.find(kind);
    buffer_ += at == std::string_view::npos ? kind : kMeaning[at];
    rest_.remove_prefix(2);
    return;
  }
  unsigned code = code_unit(rest_.substr(2));
  rest_.remove_prefix(6);
  if (is_high_surrogate(code)) {
    code = 0x10000 + ((code - 0xd800) << 10) + (code_unit(rest_.substr(2)) - 0xdc00);
    rest_.remove_prefix(6);
  }
  append_utf8(code, buffer_);
}

}  // namespace infinipipe
