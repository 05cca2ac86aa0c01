// What an operation takes of its stage's memory when it begins, holds while it runs and frees when
// it ends: the one reading of the rows in docs/profile.md ("Memory" and "Layer by layer"). It works
// on bytes: whoever counts memory says how many a chunk has, from a cost model or a table.
#pragma once

#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

// What a forward leaves for its backward. A caller that does not tell the two apart puts the sum in
// `activations`.
struct KeptBytes {
  Bytes activations = 0.0;
  Bytes kv = 0.0;  // K and V of a cut sequence that lie beside the activations

  Bytes total() const { return activations + kv; }
};

// The bytes of one chunk on one stage, from which memory_step() reads.
struct ChunkBytes {
  KeptBytes kept;             // from the start of F to the end of B, or of W
  Bytes forward_work = 0.0;   // more while F runs
  Bytes backward_work = 0.0;  // more while B or I runs
  Bytes grads_opened = 0.0;   // dK and dV of a whole cut sequence, where its last slice is here
  Bytes grads_freed = 0.0;    // this slice's share of them
  // In an evaluation: K and V of this slice; and those of its whole sequence, where this is the
  // sequence's last slice.
  Bytes context = 0.0;
  Bytes context_freed = 0.0;
  // Whether memory is counted layer by layer. Then what a backward opens and frees on its way is
  // part of backward_work until it ends, and an I leaves only what its W needs.
  bool layerwise = false;
  Bytes pending = 0.0;  // layerwise: from the end of I to the end of W
};

// What one operation does to its stage's memory, in the order of the fields. The instructions of a
// stage run one after another, so memory that one frees at its end is free before the next begins.
struct MemoryStep {
  KeptBytes opens;  // when it begins
  Bytes opens_grads = 0.0;
  Bytes holds = 0.0;  // while it runs
  KeptBytes leaves;   // when it ends
  Bytes leaves_grads = 0.0;
  Bytes closes_grads = 0.0;
  KeptBytes closes;

  // Bytes that are there after it, less those that were there before it.
  Bytes change() const {
    return opens.total() + opens_grads + leaves.total() + leaves_grads - closes_grads -
           closes.total();
  }
};

// The rule. `evaluation`: forwards only, nobody runs backward; only K and V of a cut sequence
// outlive the forward, until that sequence's last slice has run.
inline MemoryStep memory_step(Op op, const ChunkBytes& chunk, bool evaluation = false) {
  MemoryStep step;
  switch (op) {
    case Op::kForward:
      step.opens = chunk.kept;
      step.holds = chunk.forward_work;
      if (evaluation) {
        step.leaves.kv = chunk.context;
        step.closes = {chunk.kept.activations, chunk.kept.kv + chunk.context_freed};
      }
      break;
    case Op::kBackward:
    case Op::kInputGrad:
      step.holds = chunk.backward_work;
      (chunk.layerwise ? step.leaves_grads : step.opens_grads) = chunk.grads_opened;
      step.closes_grads = chunk.grads_freed;
      if (op == Op::kBackward || chunk.layerwise) step.closes = chunk.kept;
      if (op == Op::kInputGrad && chunk.layerwise) step.leaves.activations = chunk.pending;
      break;
    case Op::kWeightGrad:
      step.closes = chunk.layerwise ? KeptBytes{chunk.pending, 0.0} : chunk.kept;
      break;
  }
  return step;
}

// The bytes that a stage holds, as one sum. States and workspace, which are always there, are left
// out.
class HeldBytes final {
 public:
  // Returns what is held while the operation runs.
  Bytes begin(const MemoryStep& step) {
    bytes_ += step.opens.total();
    bytes_ += step.opens_grads;
    return bytes_ + step.holds;
  }
  void end(const MemoryStep& step) {
    bytes_ += step.leaves.total() + step.leaves_grads;
    bytes_ -= step.closes_grads;
    bytes_ -= step.closes.total();
  }
  // Corrects the sum where it is decided afterwards that some live chunks keep so much less.
  void lower(Bytes bytes) { bytes_ -= bytes; }

 private:
  Bytes bytes_ = 0.0;
};

// The bytes of a chunk by the profile. What a single operation holds while it runs is left at 0;
// the next function adds it.
inline ChunkBytes chunk_bytes(const CostModel& cost, StageId stage, const ChunkShape& shape,
                              const Keeping& keeping) {
  return {.kept = {cost.activation_bytes(stage, shape, keeping),
                   cost.kept_kv_bytes(stage, shape, keeping)},
          .grads_opened = cost.kv_grad_bytes(stage, shape.cut_sequence_tokens),
          .grads_freed = cost.kv_grad_bytes(stage, shape.cut_tokens),
          .layerwise = cost.layerwise()};
}

// The same rule for an instruction of a plan, with bytes by the profile.
inline MemoryStep memory_step(const CostModel& cost, Op op, StageId stage, const ChunkShape& shape,
                              const Keeping& keeping, bool evaluation) {
  ChunkBytes chunk = chunk_bytes(cost, stage, shape, keeping);
  if (op == Op::kForward) {
    chunk.forward_work = cost.forward_temporary(stage, shape, keeping);
    if (evaluation) {
      ChunkShape whole;
      whole.cut_tokens = shape.cut_sequence_tokens;
      chunk.context = cost.evaluation_kv_bytes(stage, shape);
      chunk.context_freed = cost.evaluation_kv_bytes(stage, whole);
    }
  } else {
    if (starts_backward(op)) {
      if (chunk.layerwise) {
        chunk.backward_work = cost.backward_temporary(stage, shape, keeping, op);
      } else if (keeping.remade() > 0) {
        chunk.backward_work = cost.recompute_workspace_bytes(stage, shape);
      }
    }
    if (op != Op::kBackward) chunk.pending = cost.pending_bytes(stage, shape, keeping);
  }
  return memory_step(op, chunk, evaluation);
}

}  // namespace infinipipe
