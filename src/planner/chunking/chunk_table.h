// Times and bytes of every (stage, chunk) of one chunking, looked up instead of computed: the
// planner's inner loops read them millions of times.
#pragma once

#include <vector>

#include "cost/memory_steps.h"
#include "infinipipe/cost/cost_model.h"
#include "infinipipe/planner/planner.h"
#include "planner/chunking/sequence_processor.h"

namespace infinipipe {

// What one chunk costs on one stage. The first three and `activation` are for a chunk of which no
// layer is recomputed; seconds() and memory() add what recomputed layers change.
struct ChunkEntry {
  Seconds forward = 0.0;
  Seconds backward = 0.0;         // B
  Seconds weight = 0.0;           // W; I = B - W + input_more
  Seconds input_more = 0.0;       // where the sub-group slowest in I is not the one slowest in W
  Seconds layer = 0.0;            // recomputing one layer that keeps the table's level
  Bytes activation = 0.0;         // held from the start of F to the end of B or W
  Bytes saved = 0.0;              // of these, what each recomputed layer saves
  Bytes workspace = 0.0;          // during a B or I with recomputation
  Bytes forward_workspace = 0.0;  // during an F with recomputation
  Bytes grads_open = 0.0;  // dK, dV of the whole cut sequence: alive from the start of this B
  Bytes grads_free = 0.0;  // this slice's share, freed at the end of its B

  // Seconds of an operation with so many layers recomputed.
  Seconds seconds(Op op, int recompute) const {
    switch (op) {
      case Op::kForward:
        return forward;
      case Op::kBackward:
        return backward + recompute * layer;
      case Op::kInputGrad:
        return (backward - weight + input_more) + recompute * layer;
      case Op::kWeightGrad:
        return weight;
    }
    return 0.0;
  }
  // What an operation does to its stage's memory. A backward is counted as a single step, whose
  // accumulators are all there from its start.
  MemoryStep memory(Op op, int recompute) const {
    return memory_step(op, {.kept = {activation - recompute * saved, 0.0},
                            .forward_work = recompute > 0 ? forward_workspace : 0.0,
                            .backward_work = recompute > 0 ? workspace : 0.0,
                            .grads_opened = grads_open,
                            .grads_freed = grads_free});
  }
};

// How many messages of a stage the planner expects to wait at the same time: one that a busy
// neighbour has not taken yet, and one that the simulator reserves.
constexpr double kWaitingMessages = 2.0;

struct ChunkTable {
  ChunkTable() = default;
  // `chunking` of `sequences`; limit 0: none. Recomputed layers keep `recomputed`.
  ChunkTable(const Chunking& chunking, const std::vector<Tokens>& sequences, const CostModel& cost,
             Bytes limit, Keep recomputed = Keep::kInput);

  int stages = 0;
  int chunks = 0;
  std::vector<ChunkEntry> entries;  // [stage * chunks + chunk]
  std::vector<Seconds> transfer;    // by chunk
  std::vector<int> layers;          // by stage
  // By stage: the bytes that the activations and accumulators of chunks may take. It is the limit
  // less states, workspace, an instruction's temporaries and kWaitingMessages; it may be < 0.
  // An order that keeps within it may still not fit, because more messages may wait, and because a
  // layerwise profile's input gradients leave bytes for their W. The simulator counts these
  // exactly.
  std::vector<Bytes> budget;
  std::vector<ChunkGroup> groups;  // as the chunking's
  std::vector<int> group_of;       // by chunk
  std::vector<int> backward;       // backward order: groups in order, each reversed
  PassSet passes;                  // what may be used; set by BoundContext::table
  Keep level = Keep::kInput;       // what all recomputed layers keep

  const ChunkEntry& at(int stage, int chunk) const { return entries[index(stage, chunk)]; }
  std::size_t index(int stage, int chunk) const {
    return static_cast<std::size_t>(stage) * static_cast<std::size_t>(chunks) +
           static_cast<std::size_t>(chunk);
  }
};

// Layers recomputed by (stage, chunk), indexed as ChunkTable::entries.
using RecomputeMatrix = std::vector<int>;

// What a group needs on a stage when it runs alone. Element i: the most bytes that are held from
// the start of the backward of the group's slice i to the end of the group's backwards, which run
// slice i, i - 1, ... down to 0. The last element is also a bound for the group's forwards.
std::vector<Bytes> group_peaks(const ChunkTable& table, const RecomputeMatrix& recompute, int stage,
                               int group);

}  // namespace infinipipe
