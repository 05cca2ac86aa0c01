#include "model/models.h"

#include "infinipipe/base/error.h"
#include "model/llama/layer.h"
#include "model/qwen2/layer.h"
#include "model/qwen3/layer.h"

namespace infinipipe {
namespace {

struct Row {
  ModelFamily family;
  std::unique_ptr<StageLayer> (*make_layer)(const ModelSpec& model, int index, ParameterMaker& make,
                                            const StageContext& context);
};

constexpr Row kRows[] = {
    {ModelFamily::kLlama, llama::make_layer},
    {ModelFamily::kMistral, llama::make_layer},  // without a window, the same layer
    {ModelFamily::kQwen2, qwen2::make_layer},
    {ModelFamily::kQwen3, qwen3::make_layer},
};

}  // namespace

std::unique_ptr<StageLayer> make_layer(const ModelSpec& model, int index, ParameterMaker& make,
                                       const StageContext& context) {
  for (const Row& row : kRows)
    if (row.family == model.family) return row.make_layer(model, index, make, context);
  INFINIPIPE_ASSERT(false, "a family of models without a row in models.cpp");
  return nullptr;
}

}  // namespace infinipipe
