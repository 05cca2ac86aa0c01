// A model as Hugging Face's transformers saves it: config.json, and weights in model.safetensors or
// in shards that model.safetensors.index.json lists.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/model_files.h"
#include "data/tensor_files.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/model_spec.h"

namespace infinipipe {

inline constexpr const char* kModelWeightsFile = "model.safetensors";
inline constexpr const char* kModelIndexFile = "model.safetensors.index.json";

// The files are open and their headers read; no weight is. Const calls are thread-safe.
class ModelFolder final {
 public:
  // Throws InputError: no such folder, weights of another format, an index that does not fit its
  // shards, one tensor in two of them.
  explicit ModelFolder(const std::string& path);

  const std::string& path() const { return path_; }
  const Json& config() const { return config_; }
  const ModelSpec& model() const { return model_; }

  // Throws InputError naming the first tensor that is missing, of another shape or dtype, or of
  // none of the model's parts. What older files hold beside (rotary_emb.inv_freq, the head of tied
  // embeddings) may be there.
  void require_tensors_of(const ModelSpec& model) const;

  TensorFiles::Place at(const std::string& name) const;  // throws InputError

 private:
  void open_shards();
  void add(const std::string& file);

  std::string path_;
  Json config_;
  ModelSpec model_;
  TensorFiles files_;
};

// "[2, 3]".
std::string shape_text(const std::vector<std::int64_t>& shape);

}  // namespace infinipipe
