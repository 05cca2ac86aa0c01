// The tensors of a model under Hugging Face's names, without any being made: what a folder of
// weights must hold. The running half's parameters are the same (a test compares them).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "infinipipe/core/model_spec.h"

namespace infinipipe {

struct ModelTensor {
  std::string name;
  std::vector<std::int64_t> shape;
};

// In model order; without "lm_head.weight" where embeddings are tied.
std::vector<ModelTensor> model_tensors(const ModelSpec& model);

}  // namespace infinipipe
