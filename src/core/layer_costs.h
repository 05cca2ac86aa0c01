// What a decoder layer costs by its sizes alone: FLOPs, and the numbers that it keeps of a token
// between its forward and its backward. Estimated profiles, MFU, what a measured profile states of
// memory and the tests of the layers themselves (src/model/common/decoder/saved.h) read it here.
#pragma once

#include <cstdint>
#include <span>

#include "infinipipe/base/units.h"
#include "infinipipe/core/keeping.h"
#include "infinipipe/core/model_spec.h"

namespace infinipipe {

// A backward's FLOPs over its forward's. Matrix products: one for the input, one for the weight.
// Attention: five products of the size of the forward's two (scores again, and four gradients).
constexpr double kMatmulBackward = 2.0;
constexpr double kAttentionBackward = 2.5;

// Parameters that are multiplied for each token: of a layer its matrices, not its norms; of the
// model all layers' and the head's, not the embedding's.
std::int64_t layer_matmul_parameters(const ModelSpec& model);
std::int64_t matmul_parameters(const ModelSpec& model);

// FLOPs of one forward: of a layer per token, and per token^2 (core/attention_pairs.h); of the
// head's projection per token.
double layer_flops_per_token(const ModelSpec& model);
double layer_flops_per_token2(const ModelSpec& model);
double head_flops_per_token(const ModelSpec& model);

// FLOPs of a training step for MFU: 6 x matmul_parameters x tokens + 3 x forward causal attention
// (2 x query_width x layers x sum s^2, or what a sliding window leaves of the s^2);
// recomputation does not count. By that convention
// attention's backward counts twice its forward, not kAttentionBackward times.
double training_flops(const ModelSpec& model, std::span<const Tokens> sequences);

// How many numbers of a token something holds: in the compute dtype, and in the dtype of sums
// (float64 for float64, else float32).
struct TokenNumbers {
  std::int64_t compute = 0;
  std::int64_t sums = 0;

  double bytes(double compute_bytes, double sum_bytes) const {
    return static_cast<double>(compute) * compute_bytes + static_cast<double>(sums) * sum_bytes;
  }
  bool operator==(const TokenNumbers&) const = default;
};

// A layer that keeps all: from its forward on.
TokenNumbers layer_kept(const ModelSpec& model);
// The same layer between backward_input and backward_weight: never more.
TokenNumbers layer_pending(const ModelSpec& model);
// A layer that is recomputed: its input.
TokenNumbers layer_input(const ModelSpec& model);
// What a layer of that level keeps besides.
TokenNumbers layer_beside_input(const ModelSpec& model, Keep level);
// Of a layer's FLOPs per token, those of the down projection, which no backward needs the result
// of: a layer that runs again leaves it out.
double down_projection_share(const ModelSpec& model);
// Keys and values of a token of a cut sequence, and their gradients' accumulators.
TokenNumbers layer_kv(const ModelSpec& model);
TokenNumbers layer_kv_grad(const ModelSpec& model);

}  // namespace infinipipe
