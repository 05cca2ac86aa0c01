// The tensors of a model under Hugging Face's names, without any being made: what a folder of
// weights must hold. The running half's parameters are the same (a test compares them).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "infinipipe/core/model_spec.h"

namespace infinipipe {

// What a tied head shares.
inline constexpr const char* kEmbeddingTensor = "model.embed_tokens.weight";

struct ModelTensor {
  std::string name;
  std::vector<std::int64_t> shape;
};

// In model order; without "lm_head.weight" where embeddings are tied.
std::vector<ModelTensor> model_tensors(const ModelSpec& model);

// Whether training changes the weight: one of `only` (TrainingConfig::only) is a part of its name,
// whole between dots, or `only` is empty.
bool is_trained(const std::string& name, const std::vector<std::string>& only);

}  // namespace infinipipe
