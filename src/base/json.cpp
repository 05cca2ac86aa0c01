#include "infinipipe/base/json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/hash.h"
#include "base/json_rules.h"
#include "base/number_text.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// Builds the value while it refuses duplicate keys and deep nesting, which the library lets pass.
class StrictHandler final : public nlohmann::json_sax<Json> {
 public:
  StrictHandler(Json& root, std::string_view where) : where_(where), builder_(root, false) {}

  bool null() override { return builder_.null(); }
  bool boolean(bool value) override { return builder_.boolean(value); }
  bool number_integer(number_integer_t value) override { return builder_.number_integer(value); }
  bool number_unsigned(number_unsigned_t value) override { return builder_.number_unsigned(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    return builder_.number_float(value, text);
  }
  bool string(string_t& value) override { return builder_.string(value); }
  bool binary(binary_t& value) override { return builder_.binary(value); }
  bool start_object(std::size_t count) override {
    enter();
    keys_.emplace_back();
    return builder_.start_object(count);
  }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second) fail_json_key_twice(where_, name);
    return builder_.key(name);
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return builder_.end_object();
  }
  bool start_array(std::size_t count) override {
    enter();
    return builder_.start_array(count);
  }
  bool end_array() override {
    --depth_;
    return builder_.end_array();
  }
  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::detail::exception&) override {
    fail_json_syntax(where_, position, std::string_view(token).substr(0, 40));
  }

 private:
  void enter() { require_json_depth(where_, ++depth_); }

  std::string where_;
  nlohmann::detail::json_sax_dom_parser<Json> builder_;
  std::vector<std::set<std::string>> keys_;
  int depth_ = 0;
};

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 48) text = text.substr(0, 45) + "...";
  return text;
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) {
  // The library takes a NUL for the end and passes over what follows.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw InputError(where, "not JSON at byte " + std::to_string(nul + 1) + ": a NUL",
                     "expected a JSON document", "repair or rewrite the file");
  }
  Json root;
  StrictHandler handler(root, where);
  if (!Json::sax_parse(text.begin(), text.end(), &handler)) {
    throw InputError(where, "not JSON", "expected a JSON document");
  }
  return root;
}

Json read_json_file(const std::string& path, std::size_t limit) {
  return parse_json(read_file(path, limit), path);
}

std::string canonical_json(const Json& value) { return value.dump(); }

std::string hash_json(const Json& value) { return hash_hex(canonical_json(value)); }

JsonView::JsonView(const Json& value, std::string where, std::string path)
    : value_(&value), where_(std::move(where)), path_(std::move(path)) {}

void JsonView::fail(std::string_view found, std::string_view expected,
                    std::string_view next) const {
  throw InputError(path_.empty() ? where_ : where_ + ": " + path_, "found " + std::string(found),
                   "expected " + std::string(expected), next);
}

void JsonView::fail(std::string_view expected) const { fail(shown(*value_), expected); }

bool JsonView::has(std::string_view key) const {
  if (!value_->is_object()) return false;
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

JsonView JsonView::at(std::string_view key) const {
  if (!value_->is_object()) fail("an object");
  const auto found = value_->find(key);
  const std::string path = (path_.empty() ? "" : path_ + ".") + std::string(key);
  if (found == value_->end()) {
    static const Json kNull;
    JsonView(kNull, where_, path).fail("nothing", "a value", "add it");
  }
  return {*found, where_, path};
}

JsonView JsonView::at(std::size_t index) const {
  if (index >= size()) fail("an array of more than " + std::to_string(index) + " elements");
  return {(*value_)[index], where_, path_ + "[" + std::to_string(index) + "]"};
}

std::size_t JsonView::size() const {
  if (!value_->is_array()) fail("an array");
  return value_->size();
}

void JsonView::for_each(const std::function<void(JsonView)>& visit) const {
  const std::size_t count = size();
  for (std::size_t i = 0; i < count; ++i) visit(at(i));
}

std::string JsonView::string() const {
  if (!value_->is_string()) fail("a string");
  return value_->get<std::string>();
}

bool JsonView::boolean() const {
  if (!value_->is_boolean()) fail("true or false");
  return value_->get<bool>();
}

double JsonView::number(double low, double high) const {
  const auto describe = [&] {
    std::string text = "a finite number";
    if (low > std::numeric_limits<double>::lowest()) text += " >= " + number_text(low);
    if (high < std::numeric_limits<double>::max()) text += " and <= " + number_text(high);
    return text;
  };
  if (!value_->is_number()) fail(describe());
  const double number = value_->get<double>();
  if (!std::isfinite(number) || number < low || number > high) fail(describe());
  return number;
}

std::int64_t JsonView::integer(std::int64_t low, std::int64_t high) const {
  const auto describe = [&] {
    return "a whole number from " + std::to_string(low) + " to " + std::to_string(high);
  };
  if (!value_->is_number()) fail(describe());
  std::int64_t number = 0;
  if (value_->is_number_unsigned() &&
      value_->get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    fail(describe());
  }
  if (value_->is_number_float()) {
    const double real = value_->get<double>();
    if (real != std::floor(real) || std::abs(real) > 0x1.0p53) fail(describe());
    number = static_cast<std::int64_t>(real);
  } else {
    number = value_->get<std::int64_t>();
  }
  if (number < low || number > high) fail(describe());
  return number;
}

std::vector<double> JsonView::numbers(double low) const {
  std::vector<double> result;
  for_each([&](const JsonView& element) { result.push_back(element.number(low)); });
  return result;
}

std::vector<std::int64_t> JsonView::integers(std::int64_t low, std::int64_t high) const {
  std::vector<std::int64_t> result;
  for_each([&](const JsonView& element) { result.push_back(element.integer(low, high)); });
  return result;
}

double JsonView::number_or(std::string_view key, double fallback, double low) const {
  return has(key) ? at(key).number(low) : fallback;
}

std::int64_t JsonView::integer_or(std::string_view key, std::int64_t fallback,
                                  std::int64_t low) const {
  return has(key) ? at(key).integer(low) : fallback;
}

std::string JsonView::string_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? at(key).string() : std::string(fallback);
}

bool JsonView::boolean_or(std::string_view key, bool fallback) const {
  return has(key) ? at(key).boolean() : fallback;
}

int check_format(const JsonView& document, std::string_view format, int max_version) {
  const JsonView name = document.at("format");
  if (name.string() != format) name.fail("\"" + std::string(format) + "\"");
  const JsonView version = document.at("version");
  const std::int64_t number = version.integer();
  if (number < 1 || number > max_version) {
    version.fail(std::to_string(number),
                 max_version == 1 ? "1" : "1 to " + std::to_string(max_version),
                 "use a newer infinipipe or rewrite the file");
  }
  return static_cast<int>(number);
}

}  // namespace infinipipe
