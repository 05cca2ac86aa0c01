// Llama's decoder layer, and Mistral's where it has no window: the plain one.
#pragma once

#include <memory>

#include "model/common/layer.h"
#include "model/common/parameters.h"
#include "model/common/stage_context.h"

namespace infinipipe::llama {

// With new weights (models.cpp).
std::unique_ptr<StageLayer> make_layer(const ModelSpec& model, int index, ParameterMaker& make,
                                       const StageContext& context);

}  // namespace infinipipe::llama
