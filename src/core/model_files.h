// The files of a folder that holds a model, beside its weights (data/model_folder.h).
#pragma once

#include <string>

#include "infinipipe/base/json.h"
#include "infinipipe/core/model_spec.h"

namespace infinipipe {

inline constexpr const char* kModelConfigFile = "config.json";
// In a folder of checkpoints: the name of the one that counts.
inline constexpr const char* kLatestFile = "latest";

// What a folder's `latest` says, without its line break. Throws InputError where it cannot be read.
std::string read_latest(const std::string& folder);

// The folder that holds a model's config.json and weights: `path` itself, or the checkpoint under
// it that its `latest` names.
std::string model_folder(const std::string& path);

// A folder's config.json as it stands, and the model that it describes. Throw InputError.
Json read_model_config(const std::string& folder);
ModelSpec read_model(const std::string& folder);

// The path of the tokenizer in a folder, tokenizer.json before tokenizer.model; empty: none.
std::string tokenizer_in(const std::string& folder);

}  // namespace infinipipe
