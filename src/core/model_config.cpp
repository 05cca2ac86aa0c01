// Hugging Face's config.json: the one place where its fields' names and a ModelSpec meet.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/names.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/model_spec.h"

namespace infinipipe {
namespace {

// What a ModelSpec holds, and so what model_to_json() writes.
constexpr std::string_view kOwnFields[] = {
    "architectures",
    "model_type",
    "hidden_act",
    "attention_bias",
    "mlp_bias",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rms_norm_eps",
    "initializer_range",
    "tie_word_embeddings",
    "max_position_embeddings",
};

// What changes no result here, and is kept.
constexpr std::string_view kHarmlessFields[] = {
    "_attn_implementation_autoset",
    "_name_or_path",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bos_token_id",
    "chunk_size_feed_forward",
    "dtype",
    "eos_token_id",
    "id2label",
    "is_decoder",
    "is_encoder_decoder",
    "is_llama_config",
    "label2id",
    "layer_types",
    "max_window_layers",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "partial_rotary_factor",
    "pretraining_tp",
    "problem_type",
    "quantization_config",
    "return_dict",
    "rope_interleaved",
    "sliding_window",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    "use_sliding_window",
};

bool is_in(std::string_view name, const auto& names) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

ModelFamily read_family(const JsonView& json) {
  if (!json.has("model_type")) return ModelFamily::kLlama;
  const std::string found = json.at("model_type").string();
  if (const FamilyRow* row = find_named(kFamilies, found)) return row->value;
  json.at("model_type").fail("\"" + listed(names_of(kFamilies), "\" or \"", "\", \"") + "\"");
}

// Fields that change the results where they are there and not as every family here has them.
void refuse_other_maths(const JsonView& json) {
  if (json.string_or("hidden_act", "silu") != "silu") json.at("hidden_act").fail("\"silu\"");
  for (const char* name : {"attention_bias", "mlp_bias"}) {
    if (json.boolean_or(name, false)) {
      json.at(name).fail("false (no biases but those of " +
                         std::string(to_string(ModelFamily::kQwen2)) + ")");
    }
  }
  if (json.boolean_or("rope_interleaved", false)) {
    json.at("rope_interleaved").fail("false (halves of a head are rotated, not neighbours)");
  }
  if (json.number_or("partial_rotary_factor", 1.0) != 1.0) {
    json.at("partial_rotary_factor").fail("1 (all of a head is rotated)");
  }
  if (json.number_or("attention_dropout", 0.0) != 0.0) {
    json.at("attention_dropout").fail("0 (nothing is dropped)");
  }
  if (json.has("quantization_config")) {
    json.at("quantization_config").fail("nothing (weights as they were trained)");
  }
}

constexpr const char* kFullAttention = "full_attention";
constexpr const char* kSlidingAttention = "sliding_attention";
// What transformers takes where config.json does not say.
constexpr std::int64_t kDefaultWindow = 4096;
constexpr std::int64_t kDefaultFullLayers = 28;

// A family that says with use_sliding_window and by layer whether its window counts: Qwen's.
bool slides_by_layer(const FamilyRow& family) {
  return family.windows && family.value != ModelFamily::kMistral;
}

// Whether config.json lets layers slide; all must do the same. `window`: the one that they would
// have.
bool all_layers_slide(const JsonView& json, std::int64_t window) {
  constexpr const char* kExpected = "all layers with the sliding window, or none";
  const bool hides = json.integer_or("max_position_embeddings", 0, 0) <= 0 ||
                     window < json.at("max_position_embeddings").integer();
  if (json.has("layer_types")) {
    std::string first;
    bool mixed = false;
    json.at("layer_types").for_each([&](const JsonView& type) {
      const std::string found = type.string();
      if (found != kFullAttention && found != kSlidingAttention) type.fail(kExpected);
      if (first.empty()) first = found;
      if (found == first) return;
      if (hides) type.fail(kExpected);
      mixed = true;
    });
    return !mixed && first == kSlidingAttention;
  }
  const std::int64_t full = json.integer_or("max_window_layers", kDefaultFullLayers, 0);
  if (full == 0) return true;
  if (full < json.at("num_hidden_layers").integer(1) && hides) {
    json.at("max_window_layers").fail(kExpected);
  }
  return false;
}

// 0: every token sees all before it. As transformers: Mistral's window counts wherever it is
// not null, Qwen's beside use_sliding_window and in the layers that are said to slide.
std::int64_t read_window(const JsonView& json, const FamilyRow& family) {
  constexpr const char* kName = "sliding_window";
  if (!family.windows) {
    const bool hides = json.has(kName) && json.boolean_or("use_sliding_window", true) &&
                       (!json.has("max_position_embeddings") ||
                        json.at(kName).integer() < json.at("max_position_embeddings").integer());
    if (hides) {
      json.at(kName).fail(std::string("full attention with model_type ") + family.name);
    }
    if (json.has("layer_types")) {
      json.at("layer_types").for_each([&](const JsonView& type) {
        if (type.string() != kFullAttention) {
          type.fail(std::string("full attention with model_type ") + family.name);
        }
      });
    }
    return 0;
  }
  const bool said = json.json().find(kName) != json.json().end();
  if (said && !json.has(kName)) return 0;  // null
  if (slides_by_layer(family) && !json.boolean_or("use_sliding_window", false)) return 0;
  const std::int64_t window = json.integer_or(kName, kDefaultWindow, 1);
  if (slides_by_layer(family) && !all_layers_slide(json, window)) return 0;
  return window;
}

// rope_theta stands at the top in older files and in rope_parameters in current ones; a scaling in
// rope_scaling, whose type older files call "type", or in rope_parameters; where both are there,
// rope_scaling counts, as in transformers 5.
void read_rope(const JsonView& json, ModelSpec& model) {
  model.rope_theta = json.number_or("rope_theta", 10000.0);
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    if (!json.has(name)) continue;
    const JsonView found = json.at(name);
    if (!found.json().is_object()) found.fail("an object");
    model.rope_theta = found.number_or("rope_theta", model.rope_theta);
    const char* const key = found.has("rope_type") ? "rope_type" : "type";
    if (!found.has(key)) continue;
    const std::string type = found.at(key).string();
    const RopeTypeRow* const row = find_named(kRopeTypes, type);
    if (row == nullptr) {
      found.at(key).fail("one of " + listed(names_of(kRopeTypes)));
    }
    if (found.number_or("partial_rotary_factor", 1.0) != 1.0) {
      found.at("partial_rotary_factor").fail("1 (all of a head is rotated)");
    }
    RopeScaling& rope = model.rope = {};
    rope.type = row->value;
    if (rope.type == RopeType::kDefault) continue;
    const bool derived = row->original && !found.has("factor") &&
                         found.has("original_max_position_embeddings") &&
                         model.max_position_embeddings > 0;
    if (row->original) {
      rope.original_max_position_embeddings =
          found.integer_or("original_max_position_embeddings", model.max_position_embeddings, 1);
    }
    rope.factor = derived ? static_cast<double>(model.max_position_embeddings) /
                                static_cast<double>(rope.original_max_position_embeddings)
                          : found.at("factor").number();
    if (rope.type == RopeType::kLlama3) {
      rope.low_freq_factor = found.at("low_freq_factor").number();
      rope.high_freq_factor = found.at("high_freq_factor").number();
    }
    if (rope.type != RopeType::kYarn) continue;
    // A zero says nothing, as in transformers.
    const auto positive = [&](const char* field, double& value) {
      if (const double given = found.number_or(field, value); given != 0.0) value = given;
    };
    positive("attention_factor", rope.attention_factor);
    positive("beta_fast", rope.beta_fast);
    positive("beta_slow", rope.beta_slow);
    positive("mscale", rope.mscale);
    positive("mscale_all_dim", rope.mscale_all_dim);
    rope.truncate = found.boolean_or("truncate", true);
  }
}

// Beside theta; empty for plain RoPE.
Json rope_to_json(const RopeScaling& rope) {
  Json json = Json::object();
  if (rope.type == RopeType::kDefault) return json;
  json["factor"] = rope.factor;
  if (row_of(rope.type).original) {
    json["original_max_position_embeddings"] = rope.original_max_position_embeddings;
  }
  if (rope.type == RopeType::kLlama3) {
    json["low_freq_factor"] = rope.low_freq_factor;
    json["high_freq_factor"] = rope.high_freq_factor;
  }
  if (rope.type == RopeType::kYarn) {
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    if (!rope.truncate) json["truncate"] = false;
    if (rope.attention_factor != 0.0) json["attention_factor"] = rope.attention_factor;
    if (rope.mscale != 0.0) json["mscale"] = rope.mscale;
    if (rope.mscale_all_dim != 0.0) json["mscale_all_dim"] = rope.mscale_all_dim;
  }
  return json;
}

}  // namespace

ModelSpec model_from_json(const JsonView& json) {
  if (!json.json().is_object()) json.fail("a Hugging Face config.json object");
  const FamilyRow& family = row_of(read_family(json));
  refuse_other_maths(json);
  const auto size = [&](const char* name) { return json.at(name).integer(1); };
  ModelSpec model;
  model.family = family.value;
  model.vocab_size = size("vocab_size");
  model.hidden_size = size("hidden_size");
  model.intermediate_size = size("intermediate_size");
  model.num_hidden_layers = size("num_hidden_layers");
  model.num_attention_heads = size("num_attention_heads");
  model.num_key_value_heads = json.integer_or(
      "num_key_value_heads",
      family.num_key_value_heads > 0 && json.json().find("num_key_value_heads") == json.json().end()
          ? family.num_key_value_heads
          : model.num_attention_heads,
      1);
  model.head_dim = json.integer_or("head_dim", family.head_dim, 0);
  model.max_position_embeddings = json.integer_or("max_position_embeddings", 0, 0);
  read_rope(json, model);
  model.sliding_window = read_window(json, family);
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
  Json json = {{"architectures", {row_of(model.family).architecture}},
               {"model_type", to_string(model.family)},
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
  if (model.max_position_embeddings > 0) {
    json["max_position_embeddings"] = model.max_position_embeddings;
  }
  if (const FamilyRow& family = row_of(model.family); family.windows) {
    const bool slides = model.sliding_window > 0;
    json["sliding_window"] = slides ? Json(model.sliding_window) : Json(nullptr);
    if (slides_by_layer(family)) {
      json["use_sliding_window"] = slides;
      if (slides) json["max_window_layers"] = 0;
      json["layer_types"] =
          std::vector<std::string>(static_cast<std::size_t>(model.num_hidden_layers),
                                   slides ? kSlidingAttention : kFullAttention);
    }
  }
  // Current readers take rope_parameters; those before transformers 5 rope_theta and rope_scaling.
  Json scaling = rope_to_json(model.rope);
  scaling["rope_type"] = to_string(model.rope.type);
  if (model.rope.type != RopeType::kDefault) json["rope_scaling"] = scaling;
  scaling["rope_theta"] = model.rope_theta;
  json["rope_parameters"] = std::move(scaling);
  return json;
}

Json other_config_fields(const Json& config, std::vector<std::string>* unknown) {
  Json others = Json::object();
  for (const auto& [name, value] : config.items()) {
    if (is_in(name, kOwnFields)) continue;
    others[name] = value;
    if (unknown != nullptr && !is_in(name, kHarmlessFields)) unknown->push_back(name);
  }
  return others;
}

}  // namespace infinipipe
