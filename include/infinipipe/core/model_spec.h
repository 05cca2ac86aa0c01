// A model's family and sizes, under Hugging Face's names.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "infinipipe/base/json.h"

namespace infinipipe {

// How a decoder's layers are built. The running half makes each family's layers by it
// (src/model/models.h).
enum class ModelFamily { kLlama };

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

  std::int64_t resolved_head_dim() const {
    return head_dim > 0 ? head_dim : hidden_size / num_attention_heads;
  }
  std::int64_t query_width() const { return num_attention_heads * resolved_head_dim(); }
  std::int64_t kv_width() const { return num_key_value_heads * resolved_head_dim(); }

  std::int64_t parameters_per_layer() const;
  std::int64_t parameters() const;  // tied embeddings counted once

  // Throws InputError("model", ...) for sizes that cannot be.
  void check() const;
  bool operator==(const ModelSpec&) const = default;
};

// Hugging Face config.json fields (unknown ones are ignored; a model_type that names none of the
// families is refused, a missing one means Llama).
ModelSpec model_from_json(const JsonView& json);
Json model_to_json(const ModelSpec& model);

// Presets from ~1M to 70B parameters. Throws InputError naming the nearest preset.
ModelSpec model_preset(std::string_view name);
std::vector<std::string> model_preset_names();

}  // namespace infinipipe
