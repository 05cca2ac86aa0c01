#include "infinipipe/core/model_spec.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/number_text.h"
#include "core/limits.h"
#include "core/names.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/config.h"

namespace infinipipe {
namespace {

struct Preset {
  const char* name;
  const char* alias;  // the published model's name; null: none
  ModelSpec model;
};

// Llama 3.1's scaling of RoPE, from 8,192 tokens to 131,072.
ModelSpec llama3_scaled(ModelSpec model, double factor) {
  model.max_position_embeddings = 131072;
  model.rope.type = RopeType::kLlama3;
  model.rope.factor = factor;
  model.rope.original_max_position_embeddings = 8192;
  return model;
}

// Sizes, theta, eps, deviation of fresh weights, tied, family, context.
const std::vector<Preset>& presets() {
  constexpr ModelFamily kLlama = ModelFamily::kLlama;
  constexpr ModelFamily kMistral = ModelFamily::kMistral;
  constexpr ModelFamily kQwen2 = ModelFamily::kQwen2;
  constexpr ModelFamily kQwen3 = ModelFamily::kQwen3;
  static const std::vector<Preset> kPresets = {
      {"tiny", nullptr, {257, 128, 352, 4, 4, 4, 0, 1e4, 1e-5, 0.02, false}},
      {"3m", nullptr, {257, 256, 704, 4, 4, 4, 0, 1e4, 1e-5, 0.02, false}},
      {"25m", nullptr, {257, 512, 1408, 8, 8, 8, 0, 1e4, 1e-5, 0.02, false}},
      {"125m", nullptr, {32000, 768, 2048, 12, 12, 12, 0, 1e4, 1e-5, 0.02, true}},
      {"350m", nullptr, {32000, 1024, 2816, 24, 16, 16, 0, 1e4, 1e-5, 0.02, true}},
      {"1b", "llama-3.2-1b",
       llama3_scaled({128256, 2048, 8192, 16, 32, 8, 64, 5e5, 1e-5, 0.02, true}, 32.0)},
      {"3b", "llama-3.2-3b",
       llama3_scaled({128256, 3072, 8192, 28, 24, 8, 128, 5e5, 1e-5, 0.02, true}, 32.0)},
      {"7b", "llama-7b", {32000, 4096, 11008, 32, 32, 32, 0, 1e4, 1e-6, 0.02, false, kLlama, 2048}},
      {"8b",
       "llama-3-8b",
       {128256, 4096, 14336, 32, 32, 8, 0, 5e5, 1e-5, 0.02, false, kLlama, 8192}},
      {"13b",
       "llama-13b",
       {32000, 5120, 13824, 40, 40, 40, 0, 1e4, 1e-6, 0.02, false, kLlama, 2048}},
      {"30b",
       "llama-30b",
       {32000, 6656, 17920, 60, 52, 52, 0, 1e4, 1e-6, 0.02, false, kLlama, 2048}},
      {"65b",
       "llama-65b",
       {32000, 8192, 22016, 80, 64, 64, 0, 1e4, 1e-5, 0.02, false, kLlama, 2048}},
      {"70b",
       "llama-3-70b",
       {128256, 8192, 28672, 80, 64, 8, 0, 5e5, 1e-5, 0.02, false, kLlama, 8192}},
      {"llama-3.1-8b", nullptr,
       llama3_scaled({128256, 4096, 14336, 32, 32, 8, 0, 5e5, 1e-5, 0.02, false}, 8.0)},
      {"llama-3.1-70b", "llama-3.3-70b",
       llama3_scaled({128256, 8192, 28672, 80, 64, 8, 0, 5e5, 1e-5, 0.02, false}, 8.0)},
      {"smollm2-135m",
       nullptr,
       {49152, 576, 1536, 30, 9, 3, 0, 1e5, 1e-5, 0.041666666666666664, true, kLlama, 8192}},
      {"mistral-7b-v0.3",
       nullptr,
       {32768, 4096, 14336, 32, 32, 8, 128, 1e6, 1e-5, 0.02, false, kMistral, 32768}},
      {"qwen2.5-0.5b",
       nullptr,
       {151936, 896, 4864, 24, 14, 2, 0, 1e6, 1e-6, 0.02, true, kQwen2, 32768}},
      {"qwen2.5-7b",
       nullptr,
       {152064, 3584, 18944, 28, 28, 4, 0, 1e6, 1e-6, 0.02, false, kQwen2, 131072}},
      {"qwen3-0.6b",
       nullptr,
       {151936, 1024, 3072, 28, 16, 8, 128, 1e6, 1e-6, 0.02, true, kQwen3, 40960}},
      {"qwen3-8b",
       nullptr,
       {151936, 4096, 12288, 36, 32, 8, 128, 1e6, 1e-6, 0.02, false, kQwen3, 40960}},
  };
  return kPresets;
}

void require_range(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return;
  throw InputError(
      std::string("model.") + name, "found " + std::to_string(value),
      "expected a whole number from " + std::to_string(low) + " to " + std::to_string(high));
}

// Weights that are drawn from it must be float32 numbers, and their squares too.
constexpr double kMostInitializerRange = 1e15;

void require_positive(const char* name, double value) {
  if (std::isfinite(value) && value > 0.0) return;
  throw InputError(std::string("model.") + name, "found " + number_text(value),
                   "expected a finite number > 0");
}

void require_divides(const char* what, std::int64_t value, const char* by, std::int64_t divisor) {
  if (value % divisor == 0) return;
  throw InputError(std::string("model.") + what,
                   "found " + std::to_string(value) + " with " + by + " " + std::to_string(divisor),
                   std::string("expected a multiple of ") + by);
}

}  // namespace

std::int64_t ModelSpec::matrix_parameters_per_layer() const {
  const std::int64_t attention = 2 * hidden_size * query_width() + 2 * hidden_size * kv_width();
  return attention + 3 * hidden_size * intermediate_size;
}

std::int64_t ModelSpec::vector_parameters_per_layer() const {
  std::int64_t vectors = 2 * hidden_size;
  if (qkv_bias()) vectors += query_width() + 2 * kv_width();
  if (qk_norm()) vectors += 2 * resolved_head_dim();
  return vectors;
}

std::int64_t ModelSpec::parameters_per_layer() const {
  return matrix_parameters_per_layer() + vector_parameters_per_layer();
}

std::int64_t ModelSpec::parameters() const {
  const std::int64_t embeddings = (tie_word_embeddings ? 1 : 2) * vocab_size * hidden_size;
  return num_hidden_layers * parameters_per_layer() + embeddings + hidden_size;
}

void ModelSpec::settle_context(const ModelSpec& before) {
  if (rope == before.rope) return;
  if (row_of(rope.type).original && rope.original_max_position_embeddings == 0) {
    rope.original_max_position_embeddings = before.rope.original_max_position_embeddings > 0
                                                ? before.rope.original_max_position_embeddings
                                                : before.max_position_embeddings;
  }
  if (max_position_embeddings != before.max_position_embeddings) return;
  const std::int64_t original = rope.original_max_position_embeddings;
  if (row_of(rope.type).original) {
    max_position_embeddings =
        std::llround(std::min(rope.factor * static_cast<double>(original), 1e15));
  } else if (rope.type == RopeType::kLinear) {
    max_position_embeddings =
        std::llround(std::min(rope.factor * static_cast<double>(max_position_embeddings), 1e15));
  }
}

void ModelSpec::settle_family() {
  if (sliding_window > 0 && family == ModelFamily::kLlama) family = ModelFamily::kMistral;
}

void ModelSpec::check() const {
  require_range("vocab_size", vocab_size, 1, std::int64_t{1} << 31);
  require_range("hidden_size", hidden_size, 1, 1 << 20);
  require_range("intermediate_size", intermediate_size, 1, 1 << 22);
  require_range("num_hidden_layers", num_hidden_layers, 1, kMostLayers);
  require_range("num_attention_heads", num_attention_heads, 1, 1 << 16);
  require_range("num_key_value_heads", num_key_value_heads, 1, 1 << 16);
  require_range("head_dim", head_dim, 0, 1 << 16);
  if (head_dim == 0) {
    require_divides("hidden_size", hidden_size, "num_attention_heads", num_attention_heads);
  }
  require_divides("num_attention_heads", num_attention_heads, "num_key_value_heads",
                  num_key_value_heads);
  if (resolved_head_dim() % 2 != 0) {
    throw InputError("model.head_dim", "found " + std::to_string(resolved_head_dim()),
                     "expected an even number (RoPE rotates pairs)");
  }
  require_positive("rope_theta", rope_theta);
  require_positive("rms_norm_eps", rms_norm_eps);
  require_positive("initializer_range", initializer_range);
  if (initializer_range > kMostInitializerRange) {
    throw InputError("model.initializer_range", "found " + number_text(initializer_range),
                     "expected at most " + number_text(kMostInitializerRange));
  }
  require_range("max_position_embeddings", max_position_embeddings, 0, std::int64_t{1} << 50);
  require_range("sliding_window", sliding_window, 0, std::int64_t{1} << 31);
  if (sliding_window > 0 && !row_of(family).windows) {
    throw InputError("model.sliding_window", "found " + std::to_string(sliding_window),
                     std::string("expected 0 with model_type ") + to_string(family));
  }
  rope.check();
  if (rope.type == RopeType::kDynamic && max_position_embeddings == 0) {
    throw InputError("model.max_position_embeddings", "found 0 with dynamic RoPE",
                     "expected the context that the weights were trained at");
  }
}

ModelSpec model_preset(std::string_view name) {
  for (const Preset& preset : presets()) {
    if (name == preset.name || (preset.alias != nullptr && name == preset.alias)) {
      return preset.model;
    }
  }
  std::vector<std::string> names;
  std::string list;
  for (const Preset& preset : presets()) {
    names.emplace_back(preset.name);
    if (preset.alias != nullptr) names.emplace_back(preset.alias);
    list += (list.empty() ? "" : ", ") + std::string(preset.name);
  }
  const std::string near = nearest(name, names);
  throw InputError("model.preset", "found '" + std::string(name) + "'", "expected one of " + list,
                   near.empty() ? "" : "did you mean " + near + "?");
}

std::vector<std::string> model_preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : presets()) names.emplace_back(preset.name);
  return names;
}

}  // namespace infinipipe
