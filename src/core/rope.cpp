#include "infinipipe/core/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "base/number_text.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

void require(bool good, const char* name, double found, const char* expected) {
  if (good) return;
  throw InputError(std::string("model.rope.") + name, "found " + number_text(found), expected);
}

std::vector<double> plain(double theta, std::int64_t head_dim) {
  std::vector<double> inverse;
  for (std::int64_t i = 0; i < head_dim; i += 2) {
    inverse.push_back(std::pow(theta, -static_cast<double>(i) / static_cast<double>(head_dim)));
  }
  return inverse;
}

void scale_llama3(const RopeScaling& rope, double original, std::vector<double>& inverse) {
  const double longest_kept = original / rope.high_freq_factor;
  const double shortest_scaled = original / rope.low_freq_factor;
  for (double& each : inverse) {
    const double wavelength = 2.0 * std::numbers::pi / each;
    if (wavelength < longest_kept) continue;
    if (wavelength > shortest_scaled) {
      each /= rope.factor;
      continue;
    }
    const double smooth = (original / wavelength - rope.low_freq_factor) /
                          (rope.high_freq_factor - rope.low_freq_factor);
    each = (1.0 - smooth) * each / rope.factor + smooth * each;
  }
}

// The dimension, as a real number, that turns `rotations` times in the original context.
double turning(double rotations, double original, double theta, double head_dim) {
  return head_dim * std::log(original / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(theta));
}

void scale_yarn(const RopeScaling& rope, double original, double theta, std::int64_t head_dim,
                std::vector<double>& inverse) {
  const auto dims = static_cast<double>(head_dim);
  double low = turning(rope.beta_fast, original, theta, dims);
  double high = turning(rope.beta_slow, original, theta, dims);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1.0);
  if (low == high) high += 0.001;  // no division by zero
  for (std::size_t i = 0; i < inverse.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    inverse[i] = inverse[i] / rope.factor * ramp + inverse[i] * (1.0 - ramp);
  }
}

double yarn_attention_factor(const RopeScaling& rope) {
  if (rope.attention_factor > 0.0) return rope.attention_factor;
  const auto of = [&](double scale) {
    return rope.factor <= 1.0 ? 1.0 : 0.1 * scale * std::log(rope.factor) + 1.0;
  };
  const bool both = rope.mscale != 0.0 && rope.mscale_all_dim != 0.0;
  return both ? of(rope.mscale) / of(rope.mscale_all_dim) : of(1.0);
}

}  // namespace

void RopeScaling::check() const {
  const auto positive = [](const char* name, double value) {
    require(std::isfinite(value) && value > 0.0, name, value, "expected a finite number > 0");
  };
  require(std::isfinite(factor) && factor >= 1.0, "factor", factor,
          "expected a finite number of at least 1");
  require(original_max_position_embeddings >= 0, "original_max_position_embeddings",
          static_cast<double>(original_max_position_embeddings), "expected at least 0");
  require(!row_of(type).original || original_max_position_embeddings > 0,
          "original_max_position_embeddings", 0.0,
          "expected the context that the weights were first trained at");
  positive("low_freq_factor", low_freq_factor);
  positive("high_freq_factor", high_freq_factor);
  require(high_freq_factor > low_freq_factor, "high_freq_factor", high_freq_factor,
          "expected more than low_freq_factor");
  require(std::isfinite(attention_factor) && attention_factor >= 0.0, "attention_factor",
          attention_factor, "expected a finite number of at least 0");
  positive("beta_fast", beta_fast);
  positive("beta_slow", beta_slow);
  for (const auto& [name, value] :
       {std::pair("mscale", mscale), {"mscale_all_dim", mscale_all_dim}}) {
    require(std::isfinite(value) && value >= 0.0, name, value,
            "expected a finite number of at least 0");
  }
}

RopeFrequencies rope_frequencies(const RopeScaling& rope, double theta, std::int64_t head_dim,
                                 std::int64_t max_position_embeddings, Tokens longest) {
  const auto most = static_cast<double>(max_position_embeddings);
  const auto original = static_cast<double>(rope.original_max_position_embeddings);
  RopeFrequencies result;
  if (rope.type == RopeType::kDynamic && head_dim > 2 && most > 0.0) {
    const double length = std::max(static_cast<double>(longest), most);
    const auto dims = static_cast<double>(head_dim);
    theta *= std::pow(rope.factor * length / most - (rope.factor - 1.0), dims / (dims - 2.0));
  }
  result.inverse = plain(theta, head_dim);
  switch (rope.type) {
    case RopeType::kDefault:
    case RopeType::kDynamic:
      break;
    case RopeType::kLinear:
      for (double& each : result.inverse) each /= rope.factor;
      break;
    case RopeType::kLlama3:
      scale_llama3(rope, original, result.inverse);
      break;
    case RopeType::kYarn:
      scale_yarn(rope, original, theta, head_dim, result.inverse);
      result.attention_factor = yarn_attention_factor(rope);
      break;
  }
  return result;
}

}  // namespace infinipipe
