#include "core/model_tensors.h"

#include <algorithm>
#include <utility>

namespace infinipipe {
namespace {

void add_layer(const ModelSpec& model, std::int64_t index, std::vector<ModelTensor>& tensors) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const auto add = [&](const char* name, std::vector<std::int64_t> shape) {
    tensors.push_back({prefix + name, std::move(shape)});
  };
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t inner = model.intermediate_size;
  add("input_layernorm.weight", {hidden});
  add("self_attn.q_proj.weight", {model.query_width(), hidden});
  add("self_attn.k_proj.weight", {model.kv_width(), hidden});
  add("self_attn.v_proj.weight", {model.kv_width(), hidden});
  add("self_attn.o_proj.weight", {hidden, model.query_width()});
  add("post_attention_layernorm.weight", {hidden});
  add("mlp.gate_proj.weight", {inner, hidden});
  add("mlp.up_proj.weight", {inner, hidden});
  add("mlp.down_proj.weight", {hidden, inner});
  if (model.qkv_bias()) {
    add("self_attn.q_proj.bias", {model.query_width()});
    add("self_attn.k_proj.bias", {model.kv_width()});
    add("self_attn.v_proj.bias", {model.kv_width()});
  }
  if (model.qk_norm()) {
    add("self_attn.q_norm.weight", {model.resolved_head_dim()});
    add("self_attn.k_norm.weight", {model.resolved_head_dim()});
  }
}

}  // namespace

std::vector<ModelTensor> model_tensors(const ModelSpec& model) {
  std::vector<ModelTensor> tensors;
  tensors.push_back({kEmbeddingTensor, {model.vocab_size, model.hidden_size}});
  for (std::int64_t i = 0; i < model.num_hidden_layers; ++i) add_layer(model, i, tensors);
  tensors.push_back({"model.norm.weight", {model.hidden_size}});
  if (!model.tie_word_embeddings) {
    tensors.push_back({"lm_head.weight", {model.vocab_size, model.hidden_size}});
  }
  return tensors;
}

bool is_trained(const std::string& name, const std::vector<std::string>& only) {
  const std::string whole = "." + name + ".";
  return only.empty() || std::any_of(only.begin(), only.end(), [&](const std::string& part) {
           return whole.find("." + part + ".") != std::string::npos;
         });
}

}  // namespace infinipipe
