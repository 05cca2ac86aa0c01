// Times and bytes of every (stage, chunk) of one chunking, looked up instead of computed: the
// planner's inner loops read them millions of times.
#pragma once

#include <vector>

#include "infinipipe/cost/cost_model.h"
#include "infinipipe/planner/planner.h"
#include "planner/sequence_processor.h"

namespace infinipipe {

// Of one (stage, chunk), nothing recomputed.
struct ChunkEntry {
  Seconds forward = 0.0;
  Seconds backward = 0.0;         // B
  Seconds weight = 0.0;           // W; I = B - W
  Seconds layer = 0.0;            // recomputing one layer that keeps the table's level
  Bytes activation = 0.0;         // from the start of F to the end of B or W
  Bytes saved = 0.0;              // less of it for each recomputed layer
  Bytes workspace = 0.0;          // during a B or I with recomputation
  Bytes forward_workspace = 0.0;  // during an F with recomputation
  Bytes grads_open = 0.0;  // dK, dV of the whole cut sequence: alive from the start of this B
  Bytes grads_free = 0.0;  // this slice's share, freed at the end of its B
};

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
  // By stage: the limit less states, workspace, every instruction's temporaries and a few messages
  // that wait; may be < 0. A bound for most orders only: more messages may wait, and a layerwise
  // profile's input gradients leave bytes for their W. The simulator counts all of that exactly.
  std::vector<Bytes> room;
  std::vector<ChunkGroup> groups;  // as the chunking's
  std::vector<int> group_of;       // by chunk
  std::vector<int> backward;       // backward order: groups in order, each reversed
  PlannerFeatures features;        // what may be used; set by Site::table
  Keep level = Keep::kInput;       // what all recomputed layers keep

  const ChunkEntry& at(int stage, int chunk) const { return entries[index(stage, chunk)]; }
  std::size_t index(int stage, int chunk) const {
    return static_cast<std::size_t>(stage) * static_cast<std::size_t>(chunks) +
           static_cast<std::size_t>(chunk);
  }
  // Work of the busiest stage, nothing recomputed.
  Seconds busiest_stage() const;
};

// Layers recomputed by (stage, chunk), indexed as ChunkTable::entries.
using RecomputeMatrix = std::vector<int>;

// What one pass over a group alone needs on a stage: the most bytes from the start of the backward
// of slice i (counted from the group's first) to the end of the group's backwards, for each i.
// The last element bounds the forwards too.
std::vector<Bytes> group_peaks(const ChunkTable& table, const RecomputeMatrix& recompute, int stage,
                               int group);

}  // namespace infinipipe
