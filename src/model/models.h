// The families of models that stages can run, by the names of core/model_spec.h. To add one: a
// folder beside llama/ and a row in models.cpp (docs/model.md).
#pragma once

#include <memory>

#include "infinipipe/core/model_spec.h"
#include "model/common/layer.h"
#include "model/common/parameters.h"
#include "model/common/stage_context.h"

namespace infinipipe {

// Layer `index` of the whole model. Its weights are made by `make`; `context` must outlive it.
std::unique_ptr<StageLayer> make_layer(const ModelSpec& model, int index, ParameterMaker& make,
                                       const StageContext& context);

}  // namespace infinipipe
