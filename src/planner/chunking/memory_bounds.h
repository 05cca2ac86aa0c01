// What memory alone says about chunk sizes, before anything is scheduled.
#pragma once

#include <vector>

#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

// A way to bound chunks, so that one sequence at a time may fit with full recomputation.
struct ChunkBounds {
  // Chunks of at most so many tokens. The largest Tokens where memory is unlimited.
  Tokens capacity = 0;
  // Where they hold a slice of a cut sequence.
  Tokens slice_capacity = 0;
  // Sequences with more tokens stay whole, in a chunk not bound by `capacity`: cut, their K and V
  // and the gradients of those would have to stay as well. 0: all may be cut.
  Tokens whole_above = 0;
  // Fits for certain, with slices so small that it is only worth it where nothing else fits.
  bool last_resort = false;
};

struct MemoryBounds {
  std::vector<ChunkBounds> bounds;  // at most three; none: the longest sequence does not fit
  // The stage that is nearest to its limit, and how much it lacks where nothing fits.
  StageId stage;
  Bytes over = 0.0;
};

// limit 0: none. `level`: what recomputed layers keep.
MemoryBounds memory_bounds(const CostModel& cost, const std::vector<Tokens>& lengths, Bytes limit,
                         Keep level = Keep::kInput);

}  // namespace infinipipe
