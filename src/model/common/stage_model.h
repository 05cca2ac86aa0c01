// What one stage computes: some consecutive layers, the embedding if it is the first, the head if
// it is the last. Explicit forward and backward on ATen operations; no autograd.
//
// Shapes: T tokens of the chunk, R of them this rank's (all, but where shards share the chunk), D
// hidden size. Activations are in the compute dtype (float64, float32 or bfloat16). With bfloat16,
// master weights, gradients and norms' arithmetic are float32. Gradients accumulate in place into
// Parameter::grad over all chunks of a step.
// Threading: one thread at a time per StageModel.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/group.h"
#include "core/token_shares.h"
#include "infinipipe/core/model_spec.h"
#include "infinipipe/core/plan.h"
#include "model/common/compute_path.h"

namespace infinipipe {

// One trainable tensor under its Hugging Face name. Fused storage (q, k, v in one matrix; gate and
// up in one) shows as views, so that names and shapes are always the logical ones.
struct Parameter {
  std::string name;   // "model.layers.3.self_attn.q_proj.weight"
  at::Tensor weight;  // what the forward multiplies, compute dtype
  at::Tensor master;  // float32 or float64; shares storage with weight unless bfloat16
  at::Tensor grad;    // master's dtype, same shape
  bool decay = true;  // weight decay applies (matrices)
  // The last stage's own copy ("lm_head.weight") of tied embeddings that start on another stage.
  // Its gradient and the embedding's must be summed into both before the optimizer, it counts once
  // in the gradient norm, and a checkpoint leaves it out (docs/model.md).
  bool tied_copy = false;
  bool trained = true;  // the optimizer changes it, and its gradient counts in the norm
};

// One slice of a chunk, as the model needs to know it.
struct SliceWork {
  SequenceId sequence;
  Tokens begin = 0;
  Tokens end = 0;
  bool cut = false;   // other slices of this sequence stand in other chunks
  bool last = false;  // the sequence ends here

  Tokens tokens() const { return end - begin; }
};

struct ChunkWork {
  std::vector<SliceWork> slices;
  Keeping keeping;  // on this stage
  // The shards that share these slices, each of which calls the same; null: this rank has them all.
  Group<at::Tensor>* shards = nullptr;

  Tokens tokens() const;
  // The slices' tokens, one after the other, that are this rank's.
  TokenRange own_tokens() const;
};

// Next-token targets of the rank's tokens, for the last stage. int64 [R]; weight [R] in float32 or
// float64, 0 where a token has no target (a sequence's last token).
struct ChunkTargets {
  at::Tensor target;
  at::Tensor weight;
  double normalizer = 1.0;  // sum of weights over the whole batch
};

// Keys and values of cut sequences' slices and their gradients on one stage: forward of slice i
// reads slices before it; backward of slice i adds to their dK and dV.
class KvStore;

// What a chunk's forward leaves for its backward. Movable; empty after the backward took it.
class ChunkState;

// Seconds by kind of work since the last take_part_times().
struct PartTimes {
  double matmul = 0.0;  // the layers' projections, forward and backward
  double attention = 0.0;
  double elementwise = 0.0;  // norms, RoPE, SwiGLU, embedding
  double exchange = 0.0;     // between shards, waiting for them included
  double head = 0.0;         // final norm, projection, cross-entropy and their gradients

  PartTimes& operator+=(const PartTimes& other) {
    matmul += other.matmul;
    attention += other.attention;
    elementwise += other.elementwise;
    exchange += other.exchange;
    head += other.head;
    return *this;
  }
};

class StageModel final {
 public:
  struct Options {
    ModelSpec model;
    LayerRange layers;
    bool embedding = false;  // first stage
    bool head = false;       // last stage
    at::ScalarType dtype = at::kFloat;
    at::Device device = at::kCPU;
    std::int64_t seed = 1;  // initial weights depend on seed and parameter name only
    // Which implementation: not given, the device's own. A test gives a GPU's on the processor.
    std::optional<ComputePath> path;
    Tokens head_block_tokens = 0;  // at most; 0: what suits the path
    Tokens longest = 0;            // the length that dynamic RoPE is made for
    bool time_parts = false;       // measure PartTimes (synchronises a GPU)
    bool check_finite = false;     // look at what each layer gives, for take_not_finite()
    int init_threads = 1;          // that draw the weights
  };

  explicit StageModel(const Options& options);
  ~StageModel();
  StageModel(const StageModel&) = delete;
  StageModel& operator=(const StageModel&) = delete;

  const Options& options() const;
  const ComputePath& path() const;
  std::vector<Parameter>& parameters();

  // Recomputes what depends on masters after the optimizer or a load changed them (bfloat16
  // copies).
  void weights_changed();
  // Sets every gradient to zero.
  void zero_grad();

  // Makes the constant tables for positions [0, longest) now rather than in a forward, so that the
  // caller can account for them.
  void reserve_positions(Tokens longest);

  // Where a chunk has shards, forward and the backwards that follow from it are collective.
  //
  // Forward of one chunk. `input`: token ids int64 [R] on the first stage, else hidden [R, D].
  // `keep` false (evaluation): nothing is left for a backward. On the last stage `targets` must be
  // given if `keep`: loss and hidden gradient are computed block by block here, the head's weight
  // gradient accumulates (if keep), and the result's `output` is undefined. Without targets the
  // last stage returns its hidden states, for logits().
  struct Output {
    at::Tensor output;  // hidden [R, D] for the next stage
    at::Tensor loss;    // last stage: sum of weight x cross-entropy over the tokens, float64 scalar
                        // on the device, a plain sum: not divided by the number of targets
    at::Tensor terms;   // last stage if !keep: each token's part of that sum, float64 [R], likewise
    std::unique_ptr<ChunkState> state;  // null if !keep
  };
  Output forward(const ChunkWork& chunk, const at::Tensor& input, const ChunkTargets* targets,
                 KvStore& store, bool keep);

  // Gradient of the input from the gradient of the output ([R, D]; undefined on the last stage,
  // which kept its own from the forward). Returns [R, D], or undefined on the first stage.
  // Recomputes the layers that were not kept. Leaves in `state` what backward_weight needs: never
  // more than the forward left. For that reason the gradients of o_proj and down_proj, of norms and
  // embedding, and all of recomputed layers' are computed here; q, k, v, gate and up of the kept
  // layers wait for backward_weight.
  at::Tensor backward_input(ChunkState& state, const at::Tensor& output_grad, KvStore& store);
  void backward_weight(ChunkState& state);
  // Both at once, layer by layer, freeing each layer's activations as soon as it is done.
  at::Tensor backward(std::unique_ptr<ChunkState> state, const at::Tensor& output_grad,
                      KvStore& store);

  // Time spent since the last call in recomputing, seconds.
  double take_recompute_seconds();
  // The same of exchanges between shards, without those of layers that were recomputed.
  double take_exchange_seconds();
  // Bytes that this rank gave in exchanges since the last call, its own part of them too.
  std::int64_t take_exchanged_bytes();
  PartTimes take_part_times();

  // The first tensor with a value that is not finite since the last call ("layer 3: its output");
  // empty if there was none, or nobody looked.
  std::string take_not_finite();

  // Logits [R, vocab], float32 or float64, of hidden [R, D]; last stage only; for generation.
  at::Tensor logits(const at::Tensor& hidden) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace infinipipe
