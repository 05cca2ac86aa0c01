// Time and memory of any chunk on any stage. The accounting is docs/profile.md's, to rounding: the
// planner, the simulator and every checker go through here.
#pragma once

#include <algorithm>
#include <vector>

#include "infinipipe/core/plan.h"
#include "infinipipe/cost/profile.h"

namespace infinipipe {

// What a chunk's cost depends on.
struct ChunkShape {
  // Sum over slices of (C+s)^2 - C^2; of a model with a sliding window, what that hides left out.
  double token2 = 0.0;
  Tokens tokens = 0;
  int slices = 0;
  Tokens cut_tokens = 0;           // of its slice of a cut sequence; 0 if it has none
  Tokens cut_sequence_tokens = 0;  // whole length of that sequence, where this is its last slice
  Tokens context = 0;              // tokens before its slices that these read, all together
  // Of a chunk that runs in sub-groups: how many ranks each has, and the shapes of what those that
  // have slices run, the one with most tokens first. The counts above are the whole chunk's. 0 and
  // none where the whole group shares the chunk.
  int degree = 0;
  std::vector<ChunkShape> parts{};
};

// `window`: the model's sliding_window; 0: none.
ChunkShape chunk_shape(const Chunk& chunk, const std::vector<Tokens>& sequences,
                       const std::vector<bool>& cut, Tokens window = 0);

// By how much the layout divides a stage's states (constant bytes left out), as StateSharding says:
// what one device holds is the whole over this.
double state_shards(const MemoryCost& memory, const Parallelism& parallelism);

// The profile with the bytes that a sequence-parallel group of `degree` devices keeps, of which
// each device holds a part: attention's output is there twice
// (MemoryCost::attended_bytes_per_token), and where heads are uneven, or several devices have one
// of keys and values, the device with most counts for all. A profile without that number counts
// even shares.
Profile profile_of_group(Profile profile, double layers, int degree);

// The sizes of sub-groups in which a group of `degree` devices may run batched chunks: divisors of
// it, less than it, of which the profile has the all-to-all bandwidth (1 needs none) and which can
// share the model's heads. Ascending.
std::vector<int> sub_group_degrees(const Profile& profile, int degree);

// A profile bound to a parallelism and a layer split.
//
// A chunk that runs in sub-groups takes, for each instruction and each layer that runs again, as
// long as the slowest sub-group does, and as many bytes as a device of the one with most tokens;
// and a sub-group takes what a chunk of its slices would take on a sequence-parallel group of its
// size (of_degree()). So devices of degree 1 exchange nothing. All functions that are given a
// chunk's shape follow this rule.
//
// Immutable; safe to share between threads.
// Throws InputError where a needed degree's bandwidth is absent, or where stage_speed names another
// number of stages.
class CostModel final {
 public:
  CostModel(Profile profile, Parallelism parallelism, std::vector<LayerRange> stages);

  const Profile& profile() const { return profile_; }
  const Parallelism& parallelism() const { return parallelism_; }
  const std::vector<LayerRange>& stages() const { return stages_; }
  int stage_count() const { return static_cast<int>(stages_.size()); }
  int layers(StageId stage) const { return stages_[stage.index()].count(); }
  int total_layers() const { return stages_.back().end; }
  // sub_group_degrees() of the layout.
  const std::vector<int>& degrees() const { return degrees_; }
  // The same machine with groups of `degree` devices, one of degrees(): what a sub-group costs. Its
  // states are not the layout's.
  const CostModel& of_degree(int degree) const;
  // chunk_shape() with the profile's window.
  ChunkShape shape(const Chunk& chunk, const std::vector<Tokens>& sequences,
                   const std::vector<bool>& cut) const {
    return chunk_shape(chunk, sequences, cut, profile_.sliding_window);
  }

  // Seconds of one instruction without recomputation.
  Seconds forward(StageId stage, const ChunkShape& chunk) const;
  Seconds backward(StageId stage, const ChunkShape& chunk) const;     // B
  Seconds input_grad(StageId stage, const ChunkShape& chunk) const;   // I = B - W
  Seconds weight_grad(StageId stage, const ChunkShape& chunk) const;  // W
  Seconds seconds(Op op, StageId stage, const ChunkShape& chunk) const;
  // Of one layer on this stage that keeps `level`: making again what it did not keep of this chunk.
  Seconds recompute_layer(StageId stage, const ChunkShape& chunk, Keep level) const;
  // A message between neighbouring stages; both directions alike. Of tokens that the whole group
  // shares, and of a chunk.
  Seconds transfer(Tokens tokens) const;
  Seconds transfer(const ChunkShape& chunk) const;

  // Seconds of all that is recomputed within one B or I.
  Seconds recompute(StageId stage, const ChunkShape& chunk, const Keeping& keeping) const {
    Seconds sum = 0.0;
    for (std::size_t i = 0; i < kRemadeLevels; ++i) {
      if (keeping.layers[i] == 0) continue;
      sum += keeping.layers[i] * recompute_layer(stage, chunk, kKeepLevels[i].keep);
    }
    return sum;
  }

  // Bytes. States and workspace, always there.
  Bytes state_bytes(StageId stage) const;
  Bytes workspace_bytes() const { return profile_.memory.workspace_bytes; }
  // What a chunk holds from the start of its F to the end of its B (or W) is the sum of the next
  // two, which reports show apart. Activations: the head's bytes and the K and V of layers that
  // keep everything are part of them. Kept K and V: those that recomputed layers keep for later
  // slices.
  Bytes activation_bytes(StageId stage, const ChunkShape& chunk, const Keeping& keeping) const;
  Bytes kept_kv_bytes(StageId stage, const ChunkShape& chunk, const Keeping& keeping) const;
  // dK and dV accumulators of `tokens` tokens of a cut sequence.
  Bytes kv_grad_bytes(StageId stage, Tokens tokens) const;
  // K and V of all the stage's layers, for the chunk's tokens of a cut sequence: what an evaluation
  // keeps until that sequence's last slice has run.
  Bytes evaluation_kv_bytes(StageId stage, const ChunkShape& chunk) const;
  // The activations of one recomputed layer: held during a B or I that recomputes.
  Bytes recompute_workspace_bytes(StageId stage, const ChunkShape& chunk) const;

  // Whether the profile counts memory layer by layer. Then, within a backward, accumulators open
  // and activations are freed one layer at a time, and messages take memory while they wait. All
  // functions below are about such profiles; for other profiles each of them returns 0.
  bool layerwise() const { return profile_.memory.layerwise.has_value(); }
  // The most that an F holds beyond what it leaves.
  Bytes forward_temporary(StageId stage, const ChunkShape& chunk, const Keeping& keeping) const;
  // The most that a B or I (`op`) holds beyond what was there before it began; the accumulators
  // that it opens count. While an I runs, each layer's activations are replaced by what its W still
  // needs (pending_bytes() once all layers have run). At least 0.
  Bytes backward_temporary(StageId stage, const ChunkShape& chunk, const Keeping& keeping,
                           Op op = Op::kBackward) const;
  // Held between I and W: what the weight gradients of layers that keep everything need.
  Bytes pending_bytes(StageId stage, const ChunkShape& chunk, const Keeping& keeping) const;
  // An upper bound of forward_temporary() and backward_temporary() for any recomputation. It leaves
  // out the accumulators and the recomputed layer's own activations.
  Bytes temporary_bound(StageId stage, const ChunkShape& chunk) const;
  // A message between stages; it counts for its sender from the end of its producer to the start
  // of the instruction that takes it.
  // LayerwiseMemory::received_ahead; 0 without one.
  std::size_t received_ahead() const {
    const auto& layerwise = profile_.memory.layerwise;
    return layerwise ? static_cast<std::size_t>(layerwise->received_ahead) : 0;
  }
  Bytes message_bytes(Tokens tokens) const { return layerwise() ? sent_bytes(tokens) : 0.0; }
  Bytes message_bytes(const ChunkShape& chunk) const {
    return layerwise() ? sent_bytes(chunk) : 0.0;
  }
  // What each device sends, or the one that sends most: whether or not the profile counts it.
  Bytes sent_bytes(Tokens tokens) const { return message_per_token_ * static_cast<double>(tokens); }
  Bytes sent_bytes(const ChunkShape& chunk) const {
    return of_fullest(chunk, [](const CostModel& group, const ChunkShape& part) {
      return group.sent_bytes(part.tokens);
    });
  }

 private:
  enum class SubGroups { kNone, kAll };
  CostModel(Profile profile, Parallelism parallelism, std::vector<LayerRange> stages,
            SubGroups sub_groups);

  // The largest of what `of` says of the sub-groups of a chunk, or what it says of the chunk.
  template <class Of>
  double of_slowest(const ChunkShape& chunk, const Of& of) const {
    if (chunk.degree == 0) return of(*this, chunk);
    const CostModel& group = of_degree(chunk.degree);
    double most = 0.0;
    for (const ChunkShape& part : chunk.parts) most = std::max(most, double{of(group, part)});
    return most;
  }
  // What it says of the sub-group with most tokens.
  template <class Of>
  double of_fullest(const ChunkShape& chunk, const Of& of) const {
    if (chunk.degree == 0) return of(*this, chunk);
    return of(of_degree(chunk.degree), chunk.parts.front());
  }

  Profile profile_;
  Parallelism parallelism_;
  std::vector<LayerRange> stages_;
  // Seconds of one instruction: each count of the chunk's shape times its coefficient, plus a
  // constant for the chunk. The stage's layers, degree and speed are already part of the
  // coefficients.
  struct Coefficients {
    double token2 = 0.0;
    double token = 0.0;
    double slice = 0.0;
    double chunk = 0.0;
    double context = 0.0;

    Seconds operator()(const ChunkShape& shape) const {
      return token2 * shape.token2 + token * static_cast<double>(shape.tokens) +
             slice * shape.slices + context * static_cast<double>(shape.context) + chunk;
    }
  };
  struct StageCost {
    Coefficients forward;
    Coefficients backward;
    ByRemadeLevel<Coefficients> remake_layer;  // of one layer
    double weight_per_token = 0.0;
    double kept_per_token = 0.0;  // bytes that a token's activations take without recomputation
    Bytes states = 0.0;
  };

  // As the functions of these names say, of a chunk that all devices share.
  Bytes own_forward_temporary(StageId stage, const ChunkShape& chunk, const Keeping& keeping) const;
  Bytes own_backward_temporary(StageId stage, const ChunkShape& chunk, const Keeping& keeping,
                               Op op) const;
  Bytes own_pending_bytes(StageId stage, const ChunkShape& chunk, const Keeping& keeping) const;
  Bytes own_temporary_bound(StageId stage, const ChunkShape& chunk) const;
  bool is_last(StageId stage) const { return stage.value() + 1 == stage_count(); }
  Bytes head_temporary(double tokens) const;
  Coefficients layers_cost(const DirectionCost& cost, double layers,
                           double exchanged_per_token) const;

  std::vector<int> degrees_;
  std::vector<CostModel> of_degrees_;  // of each of these
  std::vector<StageCost> costs_;
  LayerwiseMemory layerwise_;  // the profile's, of one device of the group
  double transfer_per_token_ = 0.0;
  double activation_per_layer_token_ = 0.0;  // bytes on one device of the group, as the next four
  double recompute_saves_per_token_ = 0.0;
  ByRemadeLevel<double> beside_input_per_token_{};
  double kv_per_token_ = 0.0;
  double kv_grad_per_token_ = 0.0;
  double message_per_token_ = 0.0;
  double head_kept_per_token_ = 0.0;
};

// The cost model that a plan was made with, from the profile that it was made from: the plan's
// layout, pace and window. Throws InputError where the plan keeps attention and the profile does
// not know what that costs, and where the profile is for a model of another number of layers.
CostModel plan_cost(const Profile& profile, const Plan& plan);

// Inline: a search asks for these millions of times.

inline Seconds CostModel::forward(StageId stage, const ChunkShape& chunk) const {
  return of_slowest(chunk, [stage](const CostModel& group, const ChunkShape& part) {
    return group.costs_[stage.index()].forward(part);
  });
}

inline Seconds CostModel::backward(StageId stage, const ChunkShape& chunk) const {
  return of_slowest(chunk, [stage](const CostModel& group, const ChunkShape& part) {
    return group.costs_[stage.index()].backward(part);
  });
}

inline Seconds CostModel::input_grad(StageId stage, const ChunkShape& chunk) const {
  return of_slowest(chunk, [stage](const CostModel& group, const ChunkShape& part) {
    return group.backward(stage, part) - group.weight_grad(stage, part);
  });
}

inline Seconds CostModel::weight_grad(StageId stage, const ChunkShape& chunk) const {
  return of_slowest(chunk, [stage](const CostModel& group, const ChunkShape& part) {
    return group.costs_[stage.index()].weight_per_token * static_cast<double>(part.tokens);
  });
}

inline Seconds CostModel::seconds(Op op, StageId stage, const ChunkShape& chunk) const {
  switch (op) {
    case Op::kForward:
      return forward(stage, chunk);
    case Op::kBackward:
      return backward(stage, chunk);
    case Op::kInputGrad:
      return input_grad(stage, chunk);
    case Op::kWeightGrad:
      return weight_grad(stage, chunk);
  }
  return 0.0;
}

inline Seconds CostModel::recompute_layer(StageId stage, const ChunkShape& chunk,
                                          Keep level) const {
  if (level == Keep::kAll) return 0.0;
  return of_slowest(chunk, [stage, level](const CostModel& group, const ChunkShape& part) {
    return group.costs_[stage.index()].remake_layer[index_of(level)](part);
  });
}

inline Seconds CostModel::transfer(Tokens tokens) const {
  return profile_.links.p2p_seconds + transfer_per_token_ * static_cast<double>(tokens);
}

inline Seconds CostModel::transfer(const ChunkShape& chunk) const {
  const Seconds bytes = of_fullest(chunk, [](const CostModel& group, const ChunkShape& part) {
    return group.transfer_per_token_ * static_cast<double>(part.tokens);
  });
  return profile_.links.p2p_seconds + bytes;
}

inline Bytes CostModel::state_bytes(StageId stage) const { return costs_[stage.index()].states; }

inline Bytes CostModel::activation_bytes(StageId stage, const ChunkShape& chunk,
                                         const Keeping& keeping) const {
  return of_fullest(chunk, [&](const CostModel& group, const ChunkShape& part) {
    double per_token = group.costs_[stage.index()].kept_per_token -
                       keeping.remade() * group.recompute_saves_per_token_;
    for (std::size_t i = 0; i < kRemadeLevels; ++i) {
      per_token += keeping.layers[i] * group.beside_input_per_token_[i];
    }
    return per_token * static_cast<double>(part.tokens);
  });
}

// Chunks in sub-groups have no slice of a cut sequence, so that this and the next two need not ask
// for them.
inline Bytes CostModel::kept_kv_bytes(StageId, const ChunkShape& chunk,
                                      const Keeping& keeping) const {
  return keeping.without_kv() * kv_per_token_ * static_cast<double>(chunk.cut_tokens);
}

inline Bytes CostModel::evaluation_kv_bytes(StageId stage, const ChunkShape& chunk) const {
  return layers(stage) * kv_per_token_ * static_cast<double>(chunk.cut_tokens);
}

inline Bytes CostModel::kv_grad_bytes(StageId stage, Tokens tokens) const {
  return layers(stage) * kv_grad_per_token_ * static_cast<double>(tokens);
}

inline Bytes CostModel::recompute_workspace_bytes(StageId, const ChunkShape& chunk) const {
  return of_fullest(chunk, [](const CostModel& group, const ChunkShape& part) {
    return group.activation_per_layer_token_ * static_cast<double>(part.tokens);
  });
}

}  // namespace infinipipe
