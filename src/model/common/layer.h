// What a stage asks of a decoder layer, whatever the family of its model: each family's folder
// (src/model/llama) makes one, most of them from common/decoder, and model/models.h knows them all.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "infinipipe/core/keeping.h"
#include "model/common/attention/attention.h"
#include "model/common/sequence_shards.h"

namespace infinipipe {

// What all layers of a stage share for one chunk of T tokens, of which this rank has R: all, or its
// part where shards share the chunk.
struct LayerChunk {
  at::Tensor positions;   // int64 [R], place in its sequence
  at::Tensor rope_table;  // [P, head_dim] acc, P > every position
  std::optional<SequenceShards> shards{};
};

// One layer over one chunk: computes forward and backward, and owns what it keeps in between. With
// shards forward, remake and backward_input are collective. The order of calls is forward; where
// the layer does not keep everything, keep and, right before the backward, remake; backward_input;
// backward_weight.
class LayerPass {
 public:
  virtual ~LayerPass() = default;

  // Output [R, D] of the input that the pass began with. The slices' contexts must hold the keys
  // and values of all earlier tokens.
  virtual at::Tensor forward(const LayerChunk& chunk, std::span<const AttentionSlice> slices) = 0;
  // Keys and values [T, KV] of this rank's heads as later slices read them; there right after
  // forward.
  virtual const at::Tensor& key() const = 0;
  virtual const at::Tensor& value() const = 0;

  // Drops what that level does not keep.
  virtual void keep(Keep level) = 0;
  // Makes again, to the bit, what keep(level) dropped. `slices` as forward had them.
  virtual void remake(Keep level, const LayerChunk& chunk,
                      std::span<const AttentionSlice> slices) = 0;

  // Gradient of the input from that of the output ([R, D], not changed). Adds to the gradients of
  // the context blocks and of some weights; keeps what the other weights' gradients need, never
  // more than forward kept.
  virtual at::Tensor backward_input(const LayerChunk& chunk, std::span<AttentionSlice> slices,
                                    const at::Tensor& output_grad) = 0;
  // Adds to the gradients of those other weights; keeps nothing.
  virtual void backward_weight() = 0;

  // Bytes of all tensors held.
  virtual std::int64_t bytes() const = 0;
};

// A layer with its weights.
class StageLayer {
 public:
  virtual ~StageLayer() = default;
  // Begins a chunk with its hidden states [R, D]. The layer must outlive the pass.
  virtual std::unique_ptr<LayerPass> begin(at::Tensor input) = 0;
};

}  // namespace infinipipe
