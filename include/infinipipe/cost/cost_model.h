// Time and memory of any chunk on any stage. The accounting is docs/profile.md's, to rounding: the
// planner, the simulator and every checker go through here.
#pragma once

#include <vector>

#include "infinipipe/core/plan.h"
#include "infinipipe/cost/profile.h"

namespace infinipipe {

// What a chunk's cost depends on.
struct ChunkShape {
  double token2 = 0.0;      // sum over slices of (C+s)^2 - C^2
  Tokens tokens = 0;
  int slices = 0;
  Tokens cut_tokens = 0;    // of its slice of a cut sequence; 0 if it has none
  Tokens cut_sequence_tokens = 0;  // whole length of that sequence, where this is its last slice
};

ChunkShape chunk_shape(const Chunk& chunk, const std::vector<Tokens>& sequences,
                       const std::vector<bool>& cut);

// A profile bound to a parallelism and a layer split. Immutable; safe to share between threads.
// Throws InputError where a needed degree's bandwidth is absent.
class CostModel final {
 public:
  CostModel(Profile profile, Parallelism parallelism, std::vector<LayerRange> stages);

  const Profile& profile() const { return profile_; }
  const Parallelism& parallelism() const { return parallelism_; }
  const std::vector<LayerRange>& stages() const { return stages_; }
  int stage_count() const { return static_cast<int>(stages_.size()); }
  int layers(StageId stage) const { return stages_[stage.index()].count(); }
  int total_layers() const { return stages_.back().end; }

  // Seconds of one instruction without recomputation.
  Seconds forward(StageId stage, const ChunkShape& chunk) const;
  Seconds backward(StageId stage, const ChunkShape& chunk) const;      // B
  Seconds input_grad(StageId stage, const ChunkShape& chunk) const;    // I = B - W
  Seconds weight_grad(StageId stage, const ChunkShape& chunk) const;   // W
  // Recomputing one layer of this stage for this chunk.
  Seconds recompute_layer(StageId stage, const ChunkShape& chunk) const;
  // A message between neighbouring stages; both directions alike.
  Seconds transfer(Tokens tokens) const;

  // Bytes. States and workspace, always there.
  Bytes state_bytes(StageId stage) const;
  Bytes workspace_bytes() const { return profile_.memory.workspace_bytes; }
  // Held from the start of F to the end of B (or W), with `recompute` layers recomputed.
  // Split in what reports show apart: activations (head bytes included) and kept K and V.
  Bytes activation_bytes(StageId stage, const ChunkShape& chunk, int recompute) const;
  Bytes kept_kv_bytes(StageId stage, const ChunkShape& chunk, int recompute) const;
  // dK and dV accumulators of `tokens` tokens of a cut sequence.
  Bytes kv_grad_bytes(StageId stage, Tokens tokens) const;
  // One recomputed layer's activations, held during a B or I with recomputation.
  Bytes recompute_workspace_bytes(StageId stage, const ChunkShape& chunk) const;

 private:
  Profile profile_;
  Parallelism parallelism_;
  std::vector<LayerRange> stages_;
  double all_to_all_seconds_per_token_ = 0.0;  // all layers, one direction
};

}  // namespace infinipipe
