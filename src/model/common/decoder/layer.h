// The decoder layer that all families share, with its backward written out, in two halves that can
// run apart in time.
//
//   n1 = norm(x); q, k, v = rope(n1 Wqkv^T); a = attention(q, k, v); m = x + a Wo^T
//
// What a family has beside that is in its weights (parameters.h): a bias on q, k and v, a norm on
// each head's q and k before rope.
//   n2 = norm(m); g, u = n2 Wgu^T;           y = m + (silu(g) * u) Wd^T
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>

#include "model/common/decoder/parameters.h"
#include "model/common/decoder/saved.h"
#include "model/common/kernels.h"
#include "model/common/layer.h"
#include "model/common/stage_context.h"

namespace infinipipe::decoder {

class DecoderLayer final : public StageLayer {
 public:
  // `context` must outlive it.
  DecoderLayer(const ModelSpec& model, LayerParameters weights, const StageContext& context);

  std::unique_ptr<LayerPass> begin(at::Tensor input) override;

  // With shards R of LayerChunk stands where T does, in inputs, outputs and their gradients.
  //
  // Output [T, D] of saved.input [T, D]; fills the rest of `saved`. The slices' contexts must hold
  // the keys and values of all earlier tokens.
  at::Tensor forward(const LayerChunk& chunk, std::span<const AttentionSlice> slices,
                     LayerSaved& saved) const;

  // Fills what forward left of `saved`, to the bit, where what `level` keeps is there. The layer's
  // output is not made: no backward needs it.
  void remake(Keep level, const LayerChunk& chunk, std::span<const AttentionSlice> slices,
              LayerSaved& saved) const;

  // Gradient of the input from that of the output ([T, D], not changed). Needs `saved` as forward
  // left it; leaves what backward_weight needs. Adds to the gradients of the context blocks, of
  // both norms, o_proj and down_proj.
  at::Tensor backward_input(const LayerChunk& chunk, std::span<AttentionSlice> slices,
                            LayerSaved& saved, const at::Tensor& output_grad);
  // Adds to the gradients of q, k, v, gate and up projections, and empties `saved`.
  void backward_weight(LayerSaved& saved);

 private:
  void project(const LayerChunk& chunk, LayerSaved& saved) const;
  void norm_heads(at::Tensor& projected, LayerSaved& saved) const;
  void norm_heads_backward(LayerSaved& saved);
  void attend(const LayerChunk& chunk, std::span<const AttentionSlice> slices,
              LayerSaved& saved) const;
  kernels::QueryKeyValue attend_backward(const LayerChunk& chunk, std::span<AttentionSlice> slices,
                                         LayerSaved& saved, at::Tensor grad) const;
  void expand(LayerSaved& saved) const;
  void widen(LayerSaved& saved, const at::Tensor& normed) const;
  void widen_again(LayerSaved& saved) const;
  at::Tensor backward_mlp(LayerSaved& saved, const at::Tensor& output_grad);

  kernels::Heads heads_;
  double eps_;
  LayerParameters weights_;
  const StageContext& context_;
};

}  // namespace infinipipe::decoder
