// Qwen2's decoder layer: Llama's with biases on queries, keys and values.
#pragma once

#include <memory>

#include "model/common/layer.h"
#include "model/common/parameters.h"
#include "model/common/stage_context.h"

namespace infinipipe::qwen2 {

// With new weights (models.cpp).
std::unique_ptr<StageLayer> make_layer(const ModelSpec& model, int index, ParameterMaker& make,
                                       const StageContext& context);

}  // namespace infinipipe::qwen2
