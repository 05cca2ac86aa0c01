#include "core/layer_costs.h"

#include "core/attention_pairs.h"

namespace infinipipe {
namespace {

// RMSNorm before attention and before the MLP: a statistic per token.
constexpr std::int64_t kNorms = 2;

// Queries and keys as they were before their own norm, which its backward needs.
std::int64_t before_qk_norm(const ModelSpec& model) {
  return model.qk_norm() ? model.query_width() + model.kv_width() : 0;
}

}  // namespace

std::int64_t layer_matmul_parameters(const ModelSpec& model) {
  return model.matrix_parameters_per_layer();
}

std::int64_t matmul_parameters(const ModelSpec& model) {
  return model.num_hidden_layers * layer_matmul_parameters(model) +
         model.vocab_size * model.hidden_size;
}

double layer_flops_per_token(const ModelSpec& model) {
  return 2.0 * static_cast<double>(layer_matmul_parameters(model));
}

double layer_flops_per_token2(const ModelSpec& model) {
  return 2.0 * static_cast<double>(model.query_width());
}

double head_flops_per_token(const ModelSpec& model) {
  return 2.0 * static_cast<double>(model.hidden_size) * static_cast<double>(model.vocab_size);
}

double training_flops(const ModelSpec& model, std::span<const Tokens> sequences) {
  double tokens = 0.0;
  double token2 = 0.0;
  for (const Tokens length : sequences) {
    tokens += static_cast<double>(length);
    token2 += attention_token2(0, length, model.sliding_window);
  }
  const double attention =
      layer_flops_per_token2(model) * static_cast<double>(model.num_hidden_layers) * token2;
  return 6.0 * static_cast<double>(matmul_parameters(model)) * tokens + 3.0 * attention;
}

// Input and middle; queries and attention's output; keys and values; gate and up. The softmax's
// statistics, and the norms'.
TokenNumbers layer_kept(const ModelSpec& model) {
  return {2 * model.hidden_size + 2 * model.query_width() + 2 * model.kv_width() +
              2 * model.intermediate_size + before_qk_norm(model),
          model.num_attention_heads + kNorms};
}

// Input and middle; gradients of queries, of keys and values, of gate and up. The norms'
// statistics.
TokenNumbers layer_pending(const ModelSpec& model) {
  return {2 * model.hidden_size + model.query_width() + 2 * model.kv_width() +
              2 * model.intermediate_size,
          kNorms};
}

TokenNumbers layer_input(const ModelSpec& model) { return {model.hidden_size, 0}; }

TokenNumbers layer_beside_input(const ModelSpec& model, Keep level) {
  switch (level) {
    case Keep::kAttention:
      return {model.query_width(), model.num_attention_heads};
    case Keep::kInput:
      return {0, 0};
    case Keep::kMlpInput:  // queries, keys, values, attention's output, middle; all statistics
      return {model.hidden_size + 2 * model.query_width() + 2 * model.kv_width() +
                  before_qk_norm(model),
              model.num_attention_heads + kNorms};
    case Keep::kAll:
      break;
  }
  const TokenNumbers kept = layer_kept(model);
  const TokenNumbers input = layer_input(model);
  return {kept.compute - input.compute, kept.sums - input.sums};
}

double down_projection_share(const ModelSpec& model) {
  return static_cast<double>(model.intermediate_size * model.hidden_size) /
         static_cast<double>(layer_matmul_parameters(model));
}

TokenNumbers layer_kv(const ModelSpec& model) { return {2 * model.kv_width(), 0}; }
TokenNumbers layer_kv_grad(const ModelSpec& model) { return {0, 2 * model.kv_width()}; }

}  // namespace infinipipe
