// Final norm, projection and cross-entropy of the last stage, block of tokens by block: loss and
// the gradient of the hidden states in one pass, so that logits exist for one block only.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/common/parameters.h"
#include "model/common/work_clock.h"

namespace infinipipe {

class Head final {
 public:
  // Borrows the weights. At most `block_tokens` tokens a block, fewer if the vocabulary is so large
  // that their logits would exceed kBlockLogits numbers (but at least kLeastBlock tokens).
  Head(const ModelSpec& model, Weight& norm, Weight& projection, Tokens block_tokens,
       const WorkClock& clock);

  static constexpr std::int64_t kBlockLogits = std::int64_t{1} << 22;
  static constexpr std::int64_t kLeastBlock = 32;

  struct Result {
    double loss = 0.0;       // sum of weight x cross-entropy
    at::Tensor hidden_grad;  // [T, D] gradient of loss / normalizer; undefined without `gradient`
    at::Tensor terms;        // float64 [T] on the CPU: each token's part of loss; undefined with it
  };
  // hidden [T, D]. With `gradient` also adds to the gradients of norm and projection.
  Result loss(const at::Tensor& hidden, const ChunkTargets& targets, bool gradient);

  // [T, V], acc dtype.
  at::Tensor logits(const at::Tensor& hidden) const;

 private:
  double eps_;
  Tokens block_;
  Weight& norm_;
  Weight& projection_;
  const WorkClock& clock_;
};

}  // namespace infinipipe
