#include "model/qwen3/layer.h"

#include <string>
#include <utility>

#include "model/common/decoder/layer.h"

namespace infinipipe::qwen3 {

std::unique_ptr<StageLayer> make_layer(const ModelSpec& model, int index, ParameterMaker& make,
                                       const StageContext& context) {
  decoder::LayerParameters weights = decoder::make_parameters(model, index, make);
  const std::string prefix = "model.layers." + std::to_string(index) + ".self_attn.";
  weights.query_norm = make.norm(prefix + "q_norm.weight", model.resolved_head_dim());
  weights.key_norm = make.norm(prefix + "k_norm.weight", model.resolved_head_dim());
  return std::make_unique<decoder::DecoderLayer>(model, std::move(weights), context);
}

}  // namespace infinipipe::qwen3
