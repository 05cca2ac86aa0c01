#include "trainer/companions.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "base/file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 10> kNames = {"added_tokens.json",
                                                     "chat_template.jinja",
                                                     "chat_template.json",
                                                     "generation_config.json",
                                                     "merges.txt",
                                                     "special_tokens_map.json",
                                                     "tokenizer.json",
                                                     "tokenizer.model",
                                                     "tokenizer_config.json",
                                                     "vocab.json"};

constexpr std::size_t kLargest = std::size_t{1} << 27;

}  // namespace

bool is_companion(const std::string& name) {
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

Companions read_companions(const std::string& folder, const Json& config) {
  Companions companions;
  companions.config = other_config_fields(config);
  for (const std::string_view name : kNames) {
    const std::string path = folder + "/" + std::string(name);
    std::error_code absent;
    if (!fs::exists(path, absent)) continue;
    if (!fs::is_regular_file(path, absent)) {
      throw InputError(path, "is no regular file", "expected a file that goes with the model");
    }
    companions.files.emplace(name, read_file(path, kLargest));
  }
  return companions;
}

Json hugging_face_config(const TrainConfig& config, const Companions& companions,
                         const std::string& dtype) {
  ModelSpec model = config.model;
  const Tokens longest = config.data.max_sequence_length;
  // dynamic grows from what the model was for.
  if (model.rope.type != RopeType::kDynamic || model.max_position_embeddings == 0) {
    model.max_position_embeddings = std::max(model.max_position_embeddings, longest);
  }
  Json json = companions.config;
  json.update(model_to_json(model));
  json["dtype"] = dtype;        // current readers
  json["torch_dtype"] = dtype;  // those before transformers 4.56
  json.emplace("use_cache", true);
  return json;
}

}  // namespace infinipipe
