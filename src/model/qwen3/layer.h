// Qwen3's decoder layer: Llama's with a norm on each head's query and key before RoPE.
#pragma once

#include <memory>

#include "model/common/layer.h"
#include "model/common/parameters.h"
#include "model/common/stage_context.h"

namespace infinipipe::qwen3 {

// With new weights (models.cpp).
std::unique_ptr<StageLayer> make_layer(const ModelSpec& model, int index, ParameterMaker& make,
                                       const StageContext& context);

}  // namespace infinipipe::qwen3
