#include "infinipipe/core/model_spec.h"

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

// vocab, hidden, intermediate, layers, heads, kv heads, head_dim, theta, eps, init, tied
const std::vector<Preset>& presets() {
  static const std::vector<Preset> kPresets = {
      {"tiny", nullptr, {257, 128, 352, 4, 4, 4, 0, 1e4, 1e-5, 0.02, false}},
      {"3m", nullptr, {257, 256, 704, 4, 4, 4, 0, 1e4, 1e-5, 0.02, false}},
      {"25m", nullptr, {257, 512, 1408, 8, 8, 8, 0, 1e4, 1e-5, 0.02, false}},
      {"125m", nullptr, {32000, 768, 2048, 12, 12, 12, 0, 1e4, 1e-5, 0.02, true}},
      {"350m", nullptr, {32000, 1024, 2816, 24, 16, 16, 0, 1e4, 1e-5, 0.02, true}},
      {"1b", "llama-3.2-1b", {128256, 2048, 8192, 16, 32, 8, 64, 5e5, 1e-5, 0.02, true}},
      {"3b", "llama-3.2-3b", {128256, 3072, 8192, 28, 24, 8, 128, 5e5, 1e-5, 0.02, true}},
      {"7b", "llama-7b", {32000, 4096, 11008, 32, 32, 32, 0, 1e4, 1e-6, 0.02, false}},
      {"8b", "llama-3-8b", {128256, 4096, 14336, 32, 32, 8, 0, 5e5, 1e-5, 0.02, false}},
      {"13b", "llama-13b", {32000, 5120, 13824, 40, 40, 40, 0, 1e4, 1e-6, 0.02, false}},
      {"30b", "llama-30b", {32000, 6656, 17920, 60, 52, 52, 0, 1e4, 1e-6, 0.02, false}},
      {"65b", "llama-65b", {32000, 8192, 22016, 80, 64, 64, 0, 1e4, 1e-5, 0.02, false}},
      {"70b", "llama-3-70b", {128256, 8192, 28672, 80, 64, 8, 0, 5e5, 1e-5, 0.02, false}},
  };
  return kPresets;
}

struct FamilyName {
  ModelFamily family;
  const char* model_type;    // in config.json, and
  const char* architecture;  // of the class that reads it
};

constexpr FamilyName kFamilies[] = {
    {ModelFamily::kLlama, "llama", "LlamaForCausalLM"},
};

ModelFamily family_of(const JsonView& json) {
  if (!json.has("model_type")) return ModelFamily::kLlama;
  const std::string found = json.at("model_type").string();
  std::string expected;
  for (const FamilyName& each : kFamilies) {
    if (found == each.model_type) return each.family;
    expected += (expected.empty() ? "\"" : " or \"") + std::string(each.model_type) + "\"";
  }
  json.at("model_type").fail(expected);
}

const FamilyName& name_of(ModelFamily family) {
  for (const FamilyName& each : kFamilies)
    if (each.family == family) return each;
  INFINIPIPE_ASSERT(false, "a family of models without a name");
  return kFamilies[0];
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

// rope_theta stands at the top in older files and in rope_parameters in current ones. A scaled
// RoPE would give other results than plain RoPE without any error, so it is refused here.
double rope_theta(const JsonView& json) {
  double theta = json.number_or("rope_theta", 10000.0);
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    if (!json.has(name)) continue;
    const JsonView rope = json.at(name);
    const std::string type = rope.string_or("rope_type", rope.string_or("type", "default"));
    if (type != "default") {
      rope.fail("\"" + type + "\" RoPE scaling", "plain RoPE", "use a model without RoPE scaling");
    }
    theta = rope.number_or("rope_theta", theta);
  }
  return theta;
}

}  // namespace

std::int64_t ModelSpec::parameters_per_layer() const {
  const std::int64_t attention = 2 * hidden_size * query_width() + 2 * hidden_size * kv_width();
  const std::int64_t mlp = 3 * hidden_size * intermediate_size;
  const std::int64_t norms = 2 * hidden_size;
  return attention + mlp + norms;
}

std::int64_t ModelSpec::parameters() const {
  const std::int64_t embeddings = (tie_word_embeddings ? 1 : 2) * vocab_size * hidden_size;
  return num_hidden_layers * parameters_per_layer() + embeddings + hidden_size;
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
}

ModelSpec model_from_json(const JsonView& json) {
  if (!json.json().is_object()) json.fail("a Hugging Face config.json object");
  const ModelFamily family = family_of(json);
  if (const std::string act = json.string_or("hidden_act", "silu"); act != "silu") {
    json.at("hidden_act").fail("\"silu\"");
  }
  for (const char* name : {"attention_bias", "mlp_bias"}) {
    if (json.boolean_or(name, false)) json.at(name).fail("false (layers without biases)");
  }
  const auto size = [&](const char* name) { return json.at(name).integer(1); };
  ModelSpec model;
  model.family = family;
  model.vocab_size = size("vocab_size");
  model.hidden_size = size("hidden_size");
  model.intermediate_size = size("intermediate_size");
  model.num_hidden_layers = size("num_hidden_layers");
  model.num_attention_heads = size("num_attention_heads");
  model.num_key_value_heads = json.integer_or("num_key_value_heads", model.num_attention_heads, 1);
  model.head_dim = json.integer_or("head_dim", 0, 0);
  model.rope_theta = rope_theta(json);
  model.rms_norm_eps = json.number_or("rms_norm_eps", 1e-6);
  model.initializer_range = json.number_or("initializer_range", 0.02);
  model.tie_word_embeddings = json.boolean_or("tie_word_embeddings", false);
  try {
    model.check();
  } catch (const InputError& error) {
    throw InputError(json.where(), error.what());
  }
  return model;
}

Json model_to_json(const ModelSpec& model) {
  const FamilyName& family = name_of(model.family);
  Json json = {{"architectures", {family.architecture}},
               {"model_type", family.model_type},
               {"hidden_act", "silu"},
               {"attention_bias", false},
               {"mlp_bias", false},
               {"vocab_size", model.vocab_size},
               {"hidden_size", model.hidden_size},
               {"intermediate_size", model.intermediate_size},
               {"num_hidden_layers", model.num_hidden_layers},
               {"num_attention_heads", model.num_attention_heads},
               {"num_key_value_heads", model.num_key_value_heads},
               {"head_dim", model.resolved_head_dim()},
               {"rope_theta", model.rope_theta},
               {"rms_norm_eps", model.rms_norm_eps},
               {"initializer_range", model.initializer_range},
               {"tie_word_embeddings", model.tie_word_embeddings}};
  return json;
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
