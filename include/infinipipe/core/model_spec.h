// A model's family and sizes, under Hugging Face's names.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "infinipipe/base/json.h"
#include "infinipipe/core/rope.h"

namespace infinipipe {

// How a decoder's layers are built. The running half makes each family's layers by it
// (src/model/models.h).
enum class ModelFamily { kLlama, kMistral, kQwen2, kQwen3 };

struct FamilyRow {
  ModelFamily value;
  const char* name;          // model_type in config.json
  const char* line;          // one line for help
  const char* architecture;  // the class of transformers that reads it
  bool qkv_bias = false;     // queries, keys and values have biases
  bool qk_norm = false;      // each head's query and key is normed before RoPE
  bool windows = false;      // attention may slide
  // What transformers takes where config.json does not say; 0: num_attention_heads, and
  // hidden_size / num_attention_heads.
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
};

// In the order of the enum.
inline constexpr std::array<FamilyRow, 4> kFamilies = {{
    {ModelFamily::kLlama, "llama", "Llama 2 to 3.3, SmolLM2, TinyLlama", "LlamaForCausalLM"},
    {.value = ModelFamily::kMistral,
     .name = "mistral",
     .line = "Mistral",
     .architecture = "MistralForCausalLM",
     .windows = true,
     .num_key_value_heads = 8},
    {.value = ModelFamily::kQwen2,
     .name = "qwen2",
     .line = "Qwen2, Qwen2.5",
     .architecture = "Qwen2ForCausalLM",
     .qkv_bias = true,
     .windows = true,
     .num_key_value_heads = 32},
    {.value = ModelFamily::kQwen3,
     .name = "qwen3",
     .line = "Qwen3",
     .architecture = "Qwen3ForCausalLM",
     .qk_norm = true,
     .windows = true,
     .num_key_value_heads = 32,
     .head_dim = 128},
}};

constexpr const FamilyRow& row_of(ModelFamily family) {
  return kFamilies[static_cast<std::size_t>(family)];
}
constexpr const char* to_string(ModelFamily family) { return row_of(family).name; }

// How many attention heads a model has. Zeros: unknown. Known ones have key_value >= 1 dividing
// query.
struct HeadCounts {
  std::int64_t query = 0;
  std::int64_t key_value = 0;

  bool known() const { return query > 0; }
  bool operator==(const HeadCounts&) const = default;
};

struct ModelSpec {
  std::int64_t vocab_size = 257;
  std::int64_t hidden_size = 256;
  std::int64_t intermediate_size = 704;
  std::int64_t num_hidden_layers = 4;
  std::int64_t num_attention_heads = 4;
  std::int64_t num_key_value_heads = 4;
  std::int64_t head_dim = 0;  // 0: hidden_size / num_attention_heads
  double rope_theta = 10000.0;
  double rms_norm_eps = 1e-5;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;
  ModelFamily family = ModelFamily::kLlama;
  std::int64_t max_position_embeddings = 0;  // the context it is for; 0: not said
  RopeScaling rope = {};
  std::int64_t sliding_window = 0;  // token i sees keys j with i - window < j <= i; 0: all j <= i

  std::int64_t resolved_head_dim() const {
    return head_dim > 0 ? head_dim : hidden_size / num_attention_heads;
  }
  std::int64_t query_width() const { return num_attention_heads * resolved_head_dim(); }
  std::int64_t kv_width() const { return num_key_value_heads * resolved_head_dim(); }
  HeadCounts heads() const { return {num_attention_heads, num_key_value_heads}; }
  bool qkv_bias() const { return row_of(family).qkv_bias; }
  bool qk_norm() const { return row_of(family).qk_norm; }

  // Of matrices, and of vectors (norms and biases).
  std::int64_t matrix_parameters_per_layer() const;
  std::int64_t vector_parameters_per_layer() const;
  std::int64_t parameters_per_layer() const;
  std::int64_t parameters() const;  // tied embeddings counted once

  // Says the contexts that follow from what was said: a scaling that needs the original context and
  // has none takes that of `before`, the model as it was before its RoPE was set, and the context
  // that the model is for becomes `factor` times the original, unless it was set too.
  void settle_context(const ModelSpec& before);

  // Llama's layer with a sliding window is Mistral's: the family becomes that.
  void settle_family();

  // Throws InputError("model", ...) for sizes that cannot be.
  void check() const;
  bool operator==(const ModelSpec&) const = default;
};

// Hugging Face config.json. What changes the results and no family here has is refused by its name:
// another model_type, activation, bias, RoPE type, a sliding window in some layers only,
// quantization. A missing model_type means Llama.
ModelSpec model_from_json(const JsonView& json);
// Fields under the names that current readers and older ones know.
Json model_to_json(const ModelSpec& model);
// The fields of a config.json that a ModelSpec does not hold, to be kept and written again.
// `unknown`, if not null, gets the names of those that nobody here knows.
Json other_config_fields(const Json& config, std::vector<std::string>* unknown = nullptr);

// Presets from ~1M to 70B parameters. Throws InputError naming the nearest preset.
ModelSpec model_preset(std::string_view name);
std::vector<std::string> model_preset_names();

}  // namespace infinipipe
