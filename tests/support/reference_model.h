// The oracle: a plain decoder in autograd on whole sequences, one at a time, from tensors under
// their Hugging Face names. No chunks, no packing, no fused storage, scores materialised (by blocks
// of queries). Written from the Hugging Face definition, independent of src/model.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "infinipipe/core/model_spec.h"

namespace infinipipe::testing {

class ReferenceModel {
 public:
  // Weights come by set(); those of tied embeddings need no "lm_head.weight".
  // `longest`: the length that dynamic RoPE is made for.
  explicit ReferenceModel(const ModelSpec& model, at::ScalarType dtype = at::kDouble,
                          Tokens longest = 0)
      : model_(model), dtype_(dtype), longest_(longest) {}

  // Takes a copy of the values as a leaf of the graph.
  void set(const std::string& name, const at::Tensor& value) {
    weights_[name] = value.detach().to(dtype_).clone().contiguous().requires_grad_(true);
  }
  const at::Tensor& weight(const std::string& name) const { return weights_.at(name); }
  const std::map<std::string, at::Tensor>& weights() const { return weights_; }
  // Gradient summed over all backward passes so far; zeros if there was none.
  at::Tensor grad(const std::string& name) const {
    const at::Tensor& leaf = weights_.at(name);
    return leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf.detach());
  }

  // x * rsqrt(mean(x^2) + eps) * w
  static at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& w, double eps) {
    return x * at::rsqrt(x.pow(2).mean(-1, true) + eps) * w;
  }

  // [S, heads, head_dim] at positions 0..S-1, rotate_half convention.
  static at::Tensor rope(const at::Tensor& x, const RopeFrequencies& frequencies) {
    const std::int64_t half = x.size(2) / 2;
    const auto options = x.options().requires_grad(false).dtype(at::kDouble);
    const at::Tensor frequency = at::tensor(frequencies.inverse, options);
    const at::Tensor angle = at::outer(at::arange(x.size(0), options), frequency);
    const at::Tensor both = at::cat({angle, angle}, 1).unsqueeze(1);
    const at::Tensor rotated = at::cat({-x.slice(2, half), x.slice(2, 0, half)}, 2);
    const double factor = frequencies.attention_factor;
    return x * (both.cos() * factor).to(x.scalar_type()) +
           rotated * (both.sin() * factor).to(x.scalar_type());
  }

  // Causal attention, and with a window > 0 of the last `window` keys alone; q [S, H, d], k and v
  // [S, Hkv, d] -> [S, H * d].
  static at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              std::int64_t window = 0) {
    const std::int64_t length = q.size(0), heads = q.size(1), group = heads / k.size(1);
    const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(2)));
    const at::Tensor keys = k.repeat_interleave(group, 1).permute({1, 2, 0});    // [H, d, S]
    const at::Tensor values = v.repeat_interleave(group, 1).permute({1, 0, 2});  // [H, S, d]
    const at::Tensor queries = q.permute({1, 0, 2});
    std::vector<at::Tensor> parts;
    constexpr std::int64_t kBlock = 512;
    for (std::int64_t begin = 0; begin < length; begin += kBlock) {
      const std::int64_t end = std::min(begin + kBlock, length);
      at::Tensor scores = at::matmul(queries.slice(1, begin, end), keys.slice(2, 0, end)) * scale;
      const auto options = q.options().requires_grad(false).dtype(at::kLong);
      const at::Tensor key = at::arange(end, options).unsqueeze(0);
      const at::Tensor query = at::arange(begin, end, options).unsqueeze(1);
      at::Tensor hidden = key > query;
      if (window > 0) hidden = hidden | (key <= query - window);
      scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
      parts.push_back(at::matmul(scores.softmax(-1), values.slice(1, 0, end)));
    }
    return at::cat(parts, 1).permute({1, 0, 2}).reshape({length, heads * q.size(2)});
  }

  // One decoder layer of x [S, D].
  at::Tensor layer(int index, const at::Tensor& x) const {
    const std::string prefix = "model.layers." + std::to_string(index) + ".";
    const auto get = [&](const std::string& name) {
      return weights_.at(prefix + name + ".weight");
    };
    const std::int64_t length = x.size(0), dim = model_.resolved_head_dim();
    const double eps = model_.rms_norm_eps;
    const at::Tensor normed = rms_norm(x, get("input_layernorm"), eps);
    const auto project = [&](const std::string& name, std::int64_t heads) {
      at::Tensor rows = at::matmul(normed, get("self_attn." + name + "_proj").t());
      const auto bias = weights_.find(prefix + "self_attn." + name + "_proj.bias");
      if (bias != weights_.end()) rows = rows + bias->second;
      rows = rows.view({length, heads, dim});
      const auto norm = weights_.find(prefix + "self_attn." + name + "_norm.weight");
      return norm == weights_.end() ? rows : rms_norm(rows, norm->second, eps);
    };
    const RopeFrequencies frequencies = rope_frequencies(model_.rope, model_.rope_theta, dim,
                                                         model_.max_position_embeddings, longest_);
    const at::Tensor q = rope(project("q", model_.num_attention_heads), frequencies);
    const at::Tensor k = rope(project("k", model_.num_key_value_heads), frequencies);
    const at::Tensor v = project("v", model_.num_key_value_heads);
    const at::Tensor middle =
        x + at::matmul(attention(q, k, v, model_.sliding_window), get("self_attn.o_proj").t());
    const at::Tensor second = rms_norm(middle, get("post_attention_layernorm"), eps);
    const at::Tensor gate = at::matmul(second, get("mlp.gate_proj").t());
    const at::Tensor up = at::matmul(second, get("mlp.up_proj").t());
    return middle + at::matmul(at::silu(gate) * up, get("mlp.down_proj").t());
  }

  // Hidden states [S, D] before the final norm.
  at::Tensor hidden(const std::vector<std::int64_t>& tokens) const {
    at::Tensor x = weights_.at("model.embed_tokens.weight")
                       .index_select(0, at::tensor(tokens, at::dtype(at::kLong)));
    for (int i = 0; i < model_.num_hidden_layers; ++i) x = layer(i, x);
    return x;
  }

  at::Tensor logits_of(const at::Tensor& hidden_states) const {
    const auto own = weights_.find("lm_head.weight");
    const at::Tensor& head =
        own != weights_.end() ? own->second : weights_.at("model.embed_tokens.weight");
    return at::matmul(
        rms_norm(hidden_states, weights_.at("model.norm.weight"), model_.rms_norm_eps), head.t());
  }
  at::Tensor logits(const std::vector<std::int64_t>& tokens) const {
    return logits_of(hidden(tokens));
  }

  // Cross-entropy of each next token: [S - 1], entry j for the prediction of token j + 1.
  at::Tensor token_losses(const std::vector<std::int64_t>& tokens) const {
    const auto count = static_cast<std::int64_t>(tokens.size());
    const at::Tensor target = at::tensor(tokens, at::dtype(at::kLong)).slice(0, 1);
    const at::Tensor log_probability = at::log_softmax(logits(tokens).slice(0, 0, count - 1), -1);
    return -log_probability.gather(1, target.unsqueeze(1)).squeeze(1);
  }

  // Sum over all targets of weight x cross-entropy / normalizer of a whole batch, sequence by
  // sequence, gradients accumulated. weights[i][j] counts the prediction of token j of sequence i;
  // empty: 1. normalizer 0: the sum of the weights.
  double run(const std::vector<std::vector<std::int64_t>>& sequences,
             const std::vector<std::vector<float>>& weights = {}, double normalizer = 0.0) {
    const auto weight_of = [&](std::size_t i) {
      const auto count = static_cast<std::int64_t>(sequences[i].size());
      if (weights.empty() || weights[i].empty()) return at::ones({count - 1}, at::dtype(dtype_));
      return at::tensor(weights[i], at::dtype(at::kFloat)).slice(0, 1).to(dtype_);
    };
    if (normalizer == 0.0) {
      for (std::size_t i = 0; i < sequences.size(); ++i)
        if (sequences[i].size() > 1)
          normalizer += weight_of(i).to(at::kDouble).sum().item<double>();
    }
    double total = 0.0;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      if (sequences[i].size() < 2) continue;
      const at::Tensor loss = (token_losses(sequences[i]) * weight_of(i)).sum() / normalizer;
      loss.backward();
      total += loss.item<double>();
    }
    return total;
  }

 private:
  ModelSpec model_;
  at::ScalarType dtype_;
  Tokens longest_;
  std::map<std::string, at::Tensor> weights_;
};

// |a - b| / |b| by the Euclidean norm; 0 for two zero tensors.
inline double relative_error(const at::Tensor& a, const at::Tensor& b) {
  const double difference = (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>();
  const double size = b.to(at::kDouble).norm().item<double>();
  return difference == 0.0 ? 0.0 : difference / size;
}

}  // namespace infinipipe::testing
