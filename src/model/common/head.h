// Final norm, projection and cross-entropy of the last stage, block of tokens by block: loss and
// the gradient of the hidden states in one pass, so that logits exist for one block only.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/common/parameters.h"
#include "model/common/stage_context.h"

namespace infinipipe {

class Head final {
 public:
  // Borrows the weights. At most `most_tokens` tokens a block; 0: what suits the path.
  Head(const ModelSpec& model, Weight& norm, Weight& projection, Tokens most_tokens,
       const StageContext& context);

  // The processor: so many numbers of logits that its cache has a use of them, but a block that is
  // worth its calls.
  static constexpr Tokens kBlockTokens = 1024;
  static constexpr std::int64_t kBlockLogits = std::int64_t{1} << 22;
  static constexpr Tokens kLeastBlock = 32;
  // A GPU reads and adds to the projection's weights once a block, which must pay: with the fused
  // kernel, in place on the logits, and with composed operations, which hold copies of them.
  static constexpr Tokens kDeviceBlock = 4096;
  static constexpr Tokens kComposedBlock = 1024;

  Tokens block() const { return block_; }

  struct Result {
    at::Tensor loss;         // sum of weight x cross-entropy, a float64 scalar where hidden is
    at::Tensor hidden_grad;  // [T, D] gradient of loss / normalizer; undefined without `gradient`
    at::Tensor terms;        // float64 [T]: each token's part of loss; undefined with it
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
  const StageContext& context_;
};

}  // namespace infinipipe
