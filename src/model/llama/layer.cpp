#include "model/llama/layer.h"

#include "model/common/decoder/layer.h"

namespace infinipipe::llama {

std::unique_ptr<StageLayer> make_layer(const ModelSpec& model, int index, ParameterMaker& make,
                                       const StageContext& context) {
  return std::make_unique<decoder::DecoderLayer>(
      model, decoder::make_parameters(model, index, make), context);
}

}  // namespace infinipipe::llama
