// Rotary position embeddings, plain and scaled, under Hugging Face's names, and the frequencies
// that each of them gives. The formulas are those of transformers 5 (modeling_rope_utils.py):
// linear is position interpolation (arXiv 2306.15595), llama3 is Llama 3.1's, yarn is that of
// "YaRN: Efficient Context Window Extension" (arXiv 2309.00071), dynamic grows theta by the length.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "infinipipe/base/units.h"

namespace infinipipe {

enum class RopeType { kDefault, kLinear, kLlama3, kYarn, kDynamic };

struct RopeTypeRow {
  RopeType value;
  const char* name;
  const char* line;       // one line for help
  bool original = false;  // original_max_position_embeddings counts
};

// In the order of the enum.
inline constexpr std::array<RopeTypeRow, 5> kRopeTypes = {{
    {RopeType::kDefault, "default", "plain"},
    {RopeType::kLinear, "linear", "all positions divided by factor"},
    {RopeType::kLlama3, "llama3", "Llama 3.1's: long wavelengths alone", true},
    {RopeType::kYarn, "yarn", "YaRN: long wavelengths alone, and attention sharpened", true},
    {RopeType::kDynamic, "dynamic", "theta grows with data.max_sequence_length"},
}};

constexpr const RopeTypeRow& row_of(RopeType type) {
  return kRopeTypes[static_cast<std::size_t>(type)];
}
constexpr const char* to_string(RopeType type) { return row_of(type).name; }

// What a type does not read is left at its default.
struct RopeScaling {
  RopeType type = RopeType::kDefault;
  double factor = 1.0;  // all but default: how many times longer the context is
  // llama3 and yarn: the context that the weights were first trained at; 0: not said
  // (ModelSpec::settle_context).
  std::int64_t original_max_position_embeddings = 0;
  double low_freq_factor = 1.0;   // llama3: wavelengths over original / this are divided,
  double high_freq_factor = 4.0;  // those below original / this stay
  double attention_factor = 0.0;  // yarn: of cosines and sines; 0: 0.1 ln(factor) + 1, or by mscale
  double beta_fast = 32.0;        // yarn: what turns so often in the original context stays,
  double beta_slow = 1.0;         // what turns less often than this is divided
  double mscale = 0.0;            // yarn: where neither is 0, attention_factor is the ratio of
  double mscale_all_dim = 0.0;    // 0.1 x ln(factor) x each + 1
  bool truncate = true;           // yarn: between the two at whole dimensions

  // Throws InputError("model.rope....", found, expected).
  void check() const;
  bool operator==(const RopeScaling&) const = default;
};

struct RopeFrequencies {
  std::vector<double> inverse;    // [head_dim / 2], radians per position
  double attention_factor = 1.0;  // of cosines and sines
};

// `max_position_embeddings` is the context that dynamic grows from. `longest` is the length that
// dynamic is made for: one for all sequences, where transformers takes each one's own.
RopeFrequencies rope_frequencies(const RopeScaling& rope, double theta, std::int64_t head_dim,
                                 std::int64_t max_position_embeddings, Tokens longest);

}  // namespace infinipipe
