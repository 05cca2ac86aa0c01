// TOML form of a configuration. Owner of the toml++ dependency.
#include <toml++/toml.h>

#include <algorithm>
#include <sstream>

#include "base/file.h"
#include "base/number_text.h"
#include "core/data_sets.h"
#include "core/names.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/config.h"

namespace infinipipe {
namespace {

// The library walks into keys and values by recursion, without a limit for keys, so that a small
// file could end the process. No key of ours has more than three parts, and no value nests.
class DepthCheck final {
 public:
  DepthCheck(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  // Throws InputError naming the line. Text that is no TOML passes or fails; it is refused later.
  void run() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"' || c == '\'') {
        skip_string(c);
        continue;
      }
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
        continue;
      }
      if (c == '.' && ++dots_ >= kMostKeyParts) fail("a key of over three parts");
      if (c == '[' || c == '{') {
        if (++depth_ > kMostDepth) fail("values nested deeper than " + std::to_string(kMostDepth));
      }
      if ((c == ']' || c == '}') && depth_ > 0) --depth_;
      if (c == '\n') ++line_;
      if (std::string_view("\n=,[]{}").find(c) != std::string_view::npos) dots_ = 0;
      ++at_;
    }
  }

 private:
  static constexpr int kMostKeyParts = 3;
  static constexpr int kMostDepth = 8;

  [[noreturn]] void fail(const std::string& found) const {
    throw InputError(where_ + ": line " + std::to_string(line_), "found " + found,
                     "expected sections, keys and plain values");
  }

  // From its opening quote to behind its closing one, or the end of the line or text.
  void skip_string(char quote) {
    const std::string three(3, quote);
    const bool many_lines = text_.substr(at_).starts_with(three);
    at_ += many_lines ? 3 : 1;
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\n') {
        if (!many_lines) return;
        ++line_;
      }
      if (quote == '"' && text_[at_] == '\\') {
        ++at_;
        continue;
      }
      if (text_[at_] != quote) continue;
      if (!many_lines || text_.substr(at_).starts_with(three)) {
        at_ += many_lines ? 3 : 1;
        return;
      }
    }
  }

  std::string_view text_;
  const std::string& where_;
  std::size_t at_ = 0;
  int dots_ = 0;
  int depth_ = 0;
  int line_ = 1;
};

const char* type_name(toml::node_type type) {
  switch (type) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a float";
    case toml::node_type::boolean:
      return "a boolean";
    default:
      return "a date or time";
  }
}

const char* expected_type(ConfigType type) {
  switch (type) {
    case ConfigType::kText:
      return "a string";
    case ConfigType::kInteger:
      return "an integer";
    case ConfigType::kNumber:
      return "a number";
    case ConfigType::kBoolean:
      return "true or false";
    case ConfigType::kIntegerOrAuto:
      return "an integer or \"auto\"";
    case ConfigType::kIntegersOrAuto:
      return "an array of integers or \"auto\"";
    case ConfigType::kNames:
      return "an array of names";
    case ConfigType::kDataSets:
      return "a string, or an array of prefixes or of {path = \"prefix\", weight = 0.7}";
  }
  return "";
}

// Of an array of prefixes and tables; empty optional: of something else.
std::optional<std::string> data_sets_in(const toml::array& array) {
  std::vector<WeightedData> sets;
  for (const toml::node& element : array) {
    WeightedData set;
    if (const auto* const prefix = element.as_string()) {
      set.path = prefix->get();
    } else if (const auto* const table = element.as_table()) {
      const toml::node* const path = table->get("path");
      const toml::node* const weight = table->get("weight");
      if (path == nullptr || !path->is_string()) return {};
      if (weight != nullptr && !weight->is_number()) return {};
      if (table->size() != (weight == nullptr ? 1U : 2U)) return {};  // another key
      set.path = path->as_string()->get();
      if (weight != nullptr) set.weight = weight->value<double>().value_or(0.0);
    } else {
      return {};
    }
    sets.push_back(std::move(set));
  }
  if (sets.empty()) return {};
  return data_sets_text(sets);
}

// The value as the text that a command line would give; empty optional: of another type.
std::optional<std::string> as_text(const toml::node& node, ConfigType type) {
  const auto* const integer = node.as_integer();
  const auto* const text = node.as_string();
  const bool is_auto = text != nullptr && text->get() == "auto";
  switch (type) {
    case ConfigType::kText:
      if (text != nullptr) return text->get();
      break;
    case ConfigType::kInteger:
      if (integer != nullptr) return std::to_string(integer->get());
      break;
    case ConfigType::kNumber:
      if (integer != nullptr) return std::to_string(integer->get());
      if (const auto* const real = node.as_floating_point()) {
        return number_text(real->get());
      }
      break;
    case ConfigType::kBoolean:
      if (const auto* const boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
      break;
    case ConfigType::kIntegerOrAuto:
      if (integer != nullptr) return std::to_string(integer->get());
      if (is_auto) return text->get();
      break;
    case ConfigType::kIntegersOrAuto:
      if (is_auto) return text->get();
      if (const auto* const array = node.as_array(); array != nullptr && !array->empty()) {
        std::string list;
        for (const toml::node& element : *array) {
          if (!element.is_integer()) return {};
          list += (list.empty() ? "" : ",") + std::to_string(element.as_integer()->get());
        }
        return list;
      }
      break;
    case ConfigType::kNames:
      if (const auto* const array = node.as_array()) {
        std::string list;
        for (const toml::node& element : *array) {
          if (!element.is_string()) return {};
          list += (list.empty() ? "" : ",") + element.as_string()->get();
        }
        return list;
      }
      break;
    case ConfigType::kDataSets:
      if (text != nullptr) return text->get();
      if (const auto* const array = node.as_array()) return data_sets_in(*array);
      break;
  }
  return {};
}

bool is_section(const std::string& name) {
  const std::vector<ConfigKey>& keys = config_keys();
  return std::any_of(keys.begin(), keys.end(),
                     [&](const ConfigKey& key) { return key.section() == name; });
}

// A key's value as text. Throws InputError for an unknown key and for another type.
std::string text_of_node(const std::string& name, const toml::node& node,
                         const std::string& where) {
  const ConfigKey* const key = find_config_key(name);
  if (key == nullptr) refuse_key(name, where);
  std::optional<std::string> text;
  try {
    text = as_text(node, key->type);
  } catch (const InputError& error) {
    throw InputError(where, error.what());
  }
  if (!text) {
    throw InputError(where + ": " + name, std::string("found ") + type_name(node.type()),
                     std::string("expected ") + expected_type(key->type));
  }
  return *text;
}

// The values of a section and of those within it.
void read_section(const std::string& section, const toml::table& table, const std::string& where,
                  ConfigValues& values) {
  for (const auto& [key, node] : table) {
    const std::string name = section + "." + std::string(key.str());
    if (find_config_key(name) == nullptr && is_section(name) && node.is_table()) {
      read_section(name, *node.as_table(), where, values);
    } else {
      values.emplace_back(name, text_of_node(name, node, where));
    }
  }
}

std::string toml_string(const std::string& value) {
  std::ostringstream out;
  out << toml::value<std::string>(value);
  return out.str();
}

std::string toml_value(const ConfigKey& key, const std::string& value) {
  if (key.type == ConfigType::kText || key.type == ConfigType::kDataSets || value == "auto")
    return toml_string(value);
  if (key.type == ConfigType::kIntegersOrAuto) return "[" + value + "]";
  if (key.type == ConfigType::kNames) {
    std::string list;
    for (std::size_t begin = 0; begin < value.size();) {
      const std::size_t end = std::min(value.find(',', begin), value.size());
      list += (list.empty() ? "" : ", ") + toml_string(value.substr(begin, end - begin));
      begin = end + 1;
    }
    return "[" + list + "]";
  }
  return value;
}

}  // namespace

TrainConfig config_from_toml(std::string_view text, const std::string& where, TrainConfig base) {
  DepthCheck(text, where).run();
  toml::table document;
  try {
    document = toml::parse(text, where);
  } catch (const toml::parse_error& error) {
    std::ostringstream location;
    location << where << ": line " << error.source().begin.line << ", column "
             << error.source().begin.column;
    throw InputError(location.str(), error.description(), "expected TOML");
  }
  std::vector<std::string> sections;
  for (const ConfigKey& key : config_keys()) {
    const std::string section = key.main_section();
    if (sections.empty() || sections.back() != section) sections.push_back(section);
  }
  for (const auto& [key, node] : document) {
    const std::string name(key.str());
    const bool known = std::find(sections.begin(), sections.end(), name) != sections.end();
    if (!known && node.is_table()) {
      const std::string near = nearest(name, sections);
      throw InputError(where + ": [" + name + "]", "unknown section",
                       near.empty() ? "expected one of " + listed(sections, ", ")
                                    : "did you mean [" + near + "]?");
    }
    if (!known) refuse_key(name, where);
    if (!node.is_table()) {
      throw InputError(where + ": " + name, std::string("found ") + type_name(node.type()),
                       "expected the section [" + name + "]");
    }
    ConfigValues values;
    read_section(name, *node.as_table(), where, values);
    set_configs(base, values, where);
  }
  return base;
}

TrainConfig read_config(const std::string& path, TrainConfig base) {
  constexpr std::size_t kLargest = 1 << 20;
  return config_from_toml(read_file(path, kLargest), path, std::move(base));
}

std::string config_to_toml(const TrainConfig& config) {
  std::string text;
  std::string section;
  for (const ConfigKey& key : config_keys()) {
    if (key.section() != section) {
      text += (section.empty() ? "[" : "\n[") + key.section() + "]\n";
      section = key.section();
    }
    text += key.name.substr(section.size() + 1) + " = " + toml_value(key, key.get(config)) + "\n";
  }
  return text;
}

}  // namespace infinipipe
