#include "model/qwen2/layer.h"

#include <string>
#include <utility>

#include "model/common/decoder/layer.h"

namespace infinipipe::qwen2 {

std::unique_ptr<StageLayer> make_layer(const ModelSpec& model, int index, ParameterMaker& make,
                                       const StageContext& context) {
  decoder::LayerParameters weights = decoder::make_parameters(model, index, make);
  const std::string prefix = "model.layers." + std::to_string(index) + ".self_attn.";
  weights.qkv_bias = make.bias({{prefix + "q_proj.bias", model.query_width()},
                                {prefix + "k_proj.bias", model.kv_width()},
                                {prefix + "v_proj.bias", model.kv_width()}});
  return std::make_unique<decoder::DecoderLayer>(model, std::move(weights), context);
}

}  // namespace infinipipe::qwen2
