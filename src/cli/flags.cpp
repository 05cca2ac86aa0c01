#include "cli/flags.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/number_text.h"
#include "core/config_files.h"
#include "core/names.h"
#include "infinipipe/base/error.h"

namespace infinipipe::cli {
namespace {

std::string quoted(const std::string& value) { return "found '" + value.substr(0, 60) + "'"; }

std::int64_t parse_integer(const std::string& name, const std::string& value, std::int64_t low,
                           std::int64_t high) {
  std::int64_t number = 0;
  const char* const end = value.data() + value.size();
  const auto [last, error] = std::from_chars(value.data(), end, number);
  if (error == std::errc() && last == end && number >= low && number <= high) return number;
  throw InputError(name, quoted(value),
                   "expected a whole number of at least " + std::to_string(low) + " and at most " +
                       std::to_string(high));
}

double parse_number(const std::string& name, const std::string& value, double low, double high) {
  double number = 0.0;
  const char* const end = value.data() + value.size();
  const auto [last, error] = std::from_chars(value.data(), end, number);
  if (error == std::errc() && last == end && std::isfinite(number) && number >= low &&
      number <= high) {
    return number;
  }
  std::string expected = "expected a finite number of at least " + number_text(low);
  if (std::isfinite(high)) expected += " and at most " + number_text(high);
  throw InputError(name, quoted(value), expected);
}

}  // namespace

Flag& Flag::reads(std::vector<std::string> with) {
  suffixes = std::move(with);
  return *this;
}

Flag& Flag::writes(std::vector<std::string> with) {
  written = true;
  return reads(std::move(with));
}

std::vector<std::string> Flag::files(const std::string& value_given) const {
  std::vector<std::string> all;
  if (suffixes.empty()) return all;
  for (const std::string& file :
       names != nullptr ? names(value_given) : std::vector<std::string>{value_given}) {
    for (const std::string& suffix : suffixes) all.push_back(file + suffix);
  }
  return all;
}

std::string Flag::long_name() const {
  const std::size_t comma = name.rfind(',');
  return comma == std::string::npos ? name : name.substr(comma + 1);
}

bool ConfigFlags::given(std::string_view key) const {
  return std::any_of(values.begin(), values.end(),
                     [&](const auto& entry) { return entry.first == key; });
}

TrainConfig ConfigFlags::resolve(TrainConfig base) const {
  TrainConfig config = apply(std::move(base));
  check(config);
  return config;
}

void ConfigFlags::check(const TrainConfig& config) const {
  constexpr std::string_view kAnywhere = "config: ";
  try {
    config.check();
  } catch (const InputError& error) {
    std::string_view refusal = error.what();
    if (!refusal.starts_with(kAnywhere)) throw;
    refusal.remove_prefix(kAnywhere.size());
    const std::string_view name = refusal.substr(0, refusal.find(':'));
    if (given(name)) throw InputError("command line", refusal);
    for (const ConfigKey& key : config_keys()) {
      if (file.empty() || key.name != name || key.get(config) == key.get(TrainConfig{})) continue;
      throw InputError(file, refusal);
    }
    throw;
  }
}

TrainConfig ConfigFlags::apply(TrainConfig base) const {
  TrainConfig config = file.empty() ? std::move(base) : read_config(file, std::move(base));
  set_configs(config, values, "command line");
  config.settle();
  if (!file.empty()) {
    std::vector<FileUse> uses = config_files(config, file, [this](const ConfigKey& key) {
      return !given(key.name) &&
             std::find(sections.begin(), sections.end(), key.main_section()) != sections.end();
    });
    uses.insert(uses.begin(), files.begin(), files.end());
    require_own_outputs(uses);
  }
  return config;
}

void Flags::set_files(std::vector<FileUse> files) {
  require_own_outputs(files);
  if (config_ != nullptr) config_->files = std::move(files);
}

Flag& Flags::add(std::string name, std::string value, std::string help,
                 std::function<void(const std::string&)> set) {
  Flag flag;
  flag.name = std::move(name);
  flag.value = std::move(value);
  flag.help = std::move(help);
  flag.section = section_;
  flag.set = std::move(set);
  return flags_.emplace_back(std::move(flag));
}

Flag& Flags::argument(std::string name, std::string& target, std::string help) {
  Flag& flag = add(std::move(name), {}, std::move(help),
                   [&target](const std::string& text) { target = text; });
  flag.required = true;
  return flag;
}

Flag& Flags::text(std::string name, std::string value, std::string& target, std::string help) {
  return add(std::move(name), std::move(value), std::move(help),
             [&target](const std::string& text) { target = text; });
}

Flag& Flags::texts(std::string name, std::string value, std::vector<std::string>& target,
                   std::string help) {
  Flag& flag = add(std::move(name), std::move(value), std::move(help),
                   [&target](const std::string& text) { target.push_back(text); });
  flag.repeated = true;
  return flag;
}

Flag& Flags::choice(const std::string& name, std::vector<std::string> choices, std::size_t& target,
                    std::string help) {
  std::string value;
  for (const std::string& choice : choices) value += (value.empty() ? "" : "|") + choice;
  return add(name, value, std::move(help),
             [name, choices = std::move(choices), value, &target](const std::string& text) {
               const auto found = std::find(choices.begin(), choices.end(), text);
               if (found == choices.end()) {
                 const std::string near = nearest(text, choices);
                 throw InputError(name, quoted(text), "expected " + value,
                                  near.empty() ? "" : "did you mean " + near + "?");
               }
               target = static_cast<std::size_t>(found - choices.begin());
             });
}

Flag& Flags::integer(const std::string& name, std::string value, std::int64_t& target,
                     std::int64_t low, std::string help, std::int64_t high) {
  return add(name, std::move(value), std::move(help),
             [name, low, high, &target](const std::string& text) {
               target = parse_integer(name, text, low, high);
             });
}

Flag& Flags::integer(const std::string& name, std::string value,
                     std::optional<std::int64_t>& target, std::int64_t low, std::string help,
                     std::int64_t high) {
  return add(name, std::move(value), std::move(help),
             [name, low, high, &target](const std::string& text) {
               target = parse_integer(name, text, low, high);
             });
}

Flag& Flags::number(const std::string& name, std::string value, double& target, double low,
                    double high, std::string help) {
  return add(name, std::move(value), std::move(help),
             [name, low, high, &target](const std::string& text) {
               target = parse_number(name, text, low, high);
             });
}

Flag& Flags::toggle(std::string name, bool& target, std::string help) {
  return add(std::move(name), {}, std::move(help),
             [&target](const std::string&) { target = true; });
}

void Flags::config(ConfigFlags& target, const std::vector<std::string>& sections) {
  section("Configuration");
  config_ = &target;
  target.sections = sections;
  add("--config", "FILE", "TOML file of the keys below; flags win over it",
      [&target](const std::string& text) { target.file = text; })
      .reads();
  for (const ConfigKey& key : config_keys()) {
    section("[" + key.section() + "]");
    const std::string default_text = key.get(TrainConfig{});
    const bool text_key = key.type == ConfigType::kText || key.type == ConfigType::kDataSets;
    const char* const value = text_key                                  ? "TEXT"
                              : key.type == ConfigType::kBoolean        ? "true|false"
                              : key.type == ConfigType::kNumber         ? "X"
                              : key.type == ConfigType::kIntegersOrAuto ? "N,N..|auto"
                              : key.type == ConfigType::kNames          ? "NAME,NAME.."
                              : key.type == ConfigType::kIntegerOrAuto  ? "N|auto"
                                                                        : "N";
    Flag& flag = add("--" + key.name, value,
                     key.help + (default_text.empty() ? "" : " (default " + default_text + ")"),
                     [&target, name = key.name](const std::string& text) {
                       target.values.emplace_back(name, text);
                     });
    flag.hidden = std::find(sections.begin(), sections.end(), key.main_section()) == sections.end();
    if (!key.also.empty()) {
      Flag other = flag;
      other.name = "--" + key.also;
      other.hidden = true;
      flags_.push_back(std::move(other));
    }
    if (const FileKey* const named = file_key(key.name); named != nullptr && !flag.hidden) {
      flag.suffixes = named->suffixes;
      flag.names = named->names;
      flag.written = named->written;
    }
  }
}

}  // namespace infinipipe::cli
