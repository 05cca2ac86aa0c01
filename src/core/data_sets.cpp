#include "core/data_sets.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/number_text.h"
#include "core/limits.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr const char* kKey = "data.path";
constexpr const char* kForm = "expected a prefix, or several like data/code:0.7,data/books:0.3";
constexpr double kMostWeight = 1e9;

std::string quoted(std::string_view text) { return "'" + std::string(text.substr(0, 60)) + "'"; }

std::optional<double> number_in(std::string_view text) {
  double number = 0.0;
  const auto [last, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || last != text.data() + text.size()) return std::nullopt;
  return number;
}

std::vector<std::string_view> pieces(std::string_view text, char between) {
  std::vector<std::string_view> all;
  while (true) {
    const std::size_t end = std::min(text.find(between), text.size());
    all.push_back(text.substr(0, end));
    if (end == text.size()) return all;
    text.remove_prefix(end + 1);
  }
}

std::string_view trimmed(std::string_view text) {
  const std::size_t first = std::min(text.find_first_not_of(' '), text.size());
  return text.substr(first, text.find_last_not_of(' ') + 1 - first);
}

// PREFIX:WEIGHT; empty where the text does not end like that.
std::optional<WeightedData> prefix_and_weight(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::optional<double> weight = number_in(text.substr(colon + 1));
  if (!weight) return std::nullopt;
  return WeightedData{std::string(text.substr(0, colon)), *weight};
}

// The form with commas; no set where the text has another form.
std::vector<WeightedData> with_commas(std::string_view text) {
  std::vector<WeightedData> sets;
  const std::vector<std::string_view> parts = pieces(text, ',');
  if (parts.size() < 2) return {};
  std::string_view without;  // the first part without a weight
  for (const std::string_view each : parts) {
    const std::string_view part = trimmed(each);
    if (std::optional<WeightedData> set = prefix_and_weight(part)) {
      sets.push_back(std::move(*set));
    } else if (without.data() == nullptr) {
      without = part;
    }
  }
  if (without.data() == nullptr || sets.empty()) return sets;
  throw InputError(kKey, "found " + quoted(without) + " without a weight", kForm);
}

// Megatron's form; no set where the text has another one.
std::vector<WeightedData> by_turns(std::string_view text) {
  std::vector<std::string_view> words;
  for (const std::string_view word : pieces(text, ' ')) {
    if (!word.empty()) words.push_back(word);
  }
  if (words.size() < 4 || words.size() % 2 != 0) return {};
  std::vector<WeightedData> sets;
  for (std::size_t i = 0; i < words.size(); i += 2) {
    const std::optional<double> weight = number_in(words[i]);
    if (!weight) return {};
    sets.push_back({std::string(words[i + 1]), *weight});
  }
  return sets;
}

void require_sets(const std::vector<WeightedData>& sets) {
  if (sets.size() > kMostDataSets) {
    throw InputError(kKey, "found " + std::to_string(sets.size()) + " sets",
                     "expected at most " + std::to_string(kMostDataSets));
  }
  for (std::size_t i = 0; i < sets.size(); ++i) {
    const WeightedData& set = sets[i];
    if (set.path.empty()) throw InputError(kKey, "found a set without a prefix", kForm);
    if (!(set.weight > 0.0) || set.weight > kMostWeight) {
      throw InputError(kKey, "found the weight " + number_text(set.weight) + " of " + set.path,
                       "expected a number above 0 and at most 10^9",
                       set.weight == 0.0 ? "leave the set out" : "");
    }
    for (std::size_t other = 0; other < i; ++other) {
      if (sets[other].path != set.path) continue;
      throw InputError(kKey, "found " + set.path + " twice", "expected each set once",
                       "add the weights up");
    }
  }
}

}  // namespace

std::vector<WeightedData> parse_data_sets(std::string_view text) {
  if (text.empty()) return {};
  std::vector<WeightedData> sets = with_commas(text);
  if (sets.empty()) sets = by_turns(text);
  if (sets.empty()) sets.push_back({std::string(text), 1.0});
  require_sets(sets);
  return sets;
}

std::string data_sets_text(const std::vector<WeightedData>& sets) {
  require_sets(sets);
  const auto refuse = [](const WeightedData& set) {
    throw InputError(kKey, "found " + quoted(set.path) + " in a list",
                     "expected prefixes without commas there, and none that begins with a blank",
                     "link to the files under another name");
  };
  if (sets.size() == 1) {
    if (parse_data_sets(sets.front().path).size() != 1) refuse(sets.front());
    return sets.front().path;
  }
  std::string text;
  for (const WeightedData& set : sets) {
    if (set.path.find(',') != std::string::npos || set.path.front() == ' ') refuse(set);
    text += (text.empty() ? "" : ",") + set.path + ":" + number_text(set.weight);
  }
  return text;
}

std::vector<WeightedData> DataConfig::sets() const { return parse_data_sets(path); }

}  // namespace infinipipe
