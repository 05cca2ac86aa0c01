#include "data/lengths.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/file.h"
#include "base/random.h"
#include "base/utf8.h"
#include "data/sampler.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr Tokens kLongest = Tokens{1} << 40;
constexpr double kBodyLow = 32.0;
constexpr double kBodyHigh = 16384.0;  // where the tail begins

std::string_view trimmed(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t first = line.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(kBlank) - first + 1);
}

}  // namespace

std::vector<Tokens> parse_lengths(std::string_view text, std::string_view where) {
  std::vector<Tokens> lengths;
  text = without_byte_order_mark(text);
  std::size_t number = 0;
  std::size_t blank = 0;  // the first blank line since the last number; 0: none
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    const auto fail = [&](std::size_t at, const std::string& found) {
      throw InputError(std::string(where) + ":" + std::to_string(at), "found " + found,
                       "expected a length, a whole number from 1 to 2^40");
    };
    if (line.empty()) {
      if (blank == 0) blank = number;
      continue;
    }
    if (blank != 0) fail(blank, "a blank line");
    Tokens value = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), value);
    if (error != std::errc() || rest != line.data() + line.size() || value < 1 ||
        value > kLongest) {
      fail(number, "\"" + std::string(line.substr(0, 40)) + "\"");
    }
    lengths.push_back(value);
  }
  if (lengths.empty()) {
    throw InputError(where, "holds no length", "expected one whole number a line");
  }
  return lengths;
}

std::vector<Tokens> read_lengths(const std::string& path) {
  constexpr std::size_t kLargest = std::size_t{1} << 30;
  return parse_lengths(read_file(path, kLargest), path);
}

std::span<const LengthModel> length_models() {
  static constexpr std::array<LengthModel, 2> kModels = {{
      {"github", 5.795, 2.178, 0.0364, 1.3},
      {"commoncrawl", 6.618, 1.348, 0.0110, 2.1},
  }};
  return kModels;
}

const LengthModel& length_model(std::string_view name) {
  std::string known;
  for (const LengthModel& model : length_models()) {
    if (model.name == name) return model;
    known += (known.empty() ? "" : " or ") + std::string(model.name);
  }
  throw InputError("length model", "found \"" + std::string(name) + "\"", "expected " + known);
}

std::vector<Tokens> synthetic_lengths(const LengthModel& model, std::int64_t count, Tokens cap,
                                      std::int64_t seed,
                                      const std::function<void(std::int64_t)>& progress) {
  if (count < 1) {
    throw InputError("lengths", "found a count of " + std::to_string(count), "expected at least 1");
  }
  if (cap < 1 || cap > kLongest) {
    throw InputError("lengths", "found a cap of " + std::to_string(cap), "expected 1 to 2^40");
  }
  Random random(static_cast<std::uint64_t>(seed));
  // Share of the Pareto distribution that lies above the cap.
  const double beyond =
      std::pow(kBodyHigh / std::max(kBodyHigh, static_cast<double>(cap)), model.alpha);
  const auto draw = [&] {
    if (random.uniform() < model.tail_share) {
      const double survival = beyond + (1.0 - beyond) * (1.0 - random.uniform());
      return kBodyHigh * std::pow(survival, -1.0 / model.alpha);
    }
    while (true) {
      const double length = std::exp(model.mu + model.sigma * random.normal());
      if (length >= kBodyLow && length <= kBodyHigh) return length;
    }
  };
  constexpr std::size_t kDrawnAtOnce = std::size_t{1} << 16;
  std::vector<Tokens> lengths(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    lengths[i] = std::min(cap, static_cast<Tokens>(draw()));
    if ((i + 1) % kDrawnAtOnce == 0) progress(static_cast<std::int64_t>(i) + 1);
  }
  return lengths;
}

std::vector<Tokens> sample_lengths(std::span<const Tokens> lengths, int batch, std::int64_t step,
                                   std::int64_t seed) {
  const Sampler sampler(static_cast<std::int64_t>(lengths.size()), batch, seed);
  std::vector<Tokens> result;
  for (const std::int64_t line : sampler.sample(step)) {
    result.push_back(lengths[static_cast<std::size_t>(line)]);
  }
  return result;
}

}  // namespace infinipipe
