#include "model/common/decoder/parameters.h"

#include <cmath>
#include <string>

namespace infinipipe::decoder {

LayerParameters make_parameters(const ModelSpec& model, int index, ParameterMaker& make) {
  const std::int64_t hidden = model.hidden_size;
  const double deviation = model.initializer_range;
  const double residual = deviation / std::sqrt(2.0 * static_cast<double>(model.num_hidden_layers));
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const auto name = [&](const char* rest) { return prefix + rest + ".weight"; };
  LayerParameters layer;
  layer.input_norm = make.norm(name("input_layernorm"), hidden);
  layer.qkv = make.matrix({{name("self_attn.q_proj"), model.query_width()},
                           {name("self_attn.k_proj"), model.kv_width()},
                           {name("self_attn.v_proj"), model.kv_width()}},
                          hidden, deviation);
  layer.output = make.matrix({{name("self_attn.o_proj"), hidden}}, model.query_width(), residual);
  layer.middle_norm = make.norm(name("post_attention_layernorm"), hidden);
  layer.gate_up = make.matrix({{name("mlp.gate_proj"), model.intermediate_size},
                               {name("mlp.up_proj"), model.intermediate_size}},
                              hidden, deviation);
  layer.down = make.matrix({{name("mlp.down_proj"), hidden}}, model.intermediate_size, residual);
  return layer;
}

}  // namespace infinipipe::decoder
