// What stands beside a model's weights in a Hugging Face folder and goes along with them through
// training: tokenizer files, generation_config.json, and the fields of config.json that no part of
// the model is made from.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "infinipipe/base/json.h"
#include "infinipipe/core/config.h"

namespace infinipipe {

struct Companions {
  Json config = Json::object();  // fields of config.json
  std::string dtype;             // of the weights that training began with: "bfloat16"; empty: new
  std::map<std::string, std::string> files;  // content by name
};

// Those of the folder, with the fields of its config.json. Throws InputError for files that are no
// regular ones or far too large.
Companions read_companions(const std::string& folder, const Json& config);

// Whether a file of that name goes along.
bool is_companion(const std::string& name);

// The config.json that says what training has made of the model: weights in `dtype`; the context is
// data.max_sequence_length where that is longer than what the model was for.
Json hugging_face_config(const TrainConfig& config, const Companions& companions,
                         const std::string& dtype);

}  // namespace infinipipe
