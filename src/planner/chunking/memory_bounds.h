// How large chunks may be, by memory alone, before anything is scheduled.
#pragma once

#include <vector>

#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

// One set of bounds for chunks. Within them a sequence fits with full recomputation when it runs
// alone.
struct ChunkBounds {
  // The most tokens of a chunk; the largest value of Tokens where memory is unlimited.
  Tokens capacity = 0;
  // The most tokens of a chunk that holds a slice of a cut sequence.
  Tokens slice_capacity = 0;
  // Sequences with more tokens than this stay whole, in a chunk that may be larger than `capacity`:
  // if they were cut, their K and V and the gradients of these would have to be held too. 0: all
  // sequences may be cut.
  Tokens whole_above = 0;
  // These bounds always fit, but their slices are so small that they are only tried where no plan
  // within the other bounds fits.
  bool last_resort = false;
};

struct MemoryBounds {
  std::vector<ChunkBounds> bounds;  // at most three; none: the longest sequence does not fit
  // The stage that is nearest to its limit, and the bytes that it lacks where there are no bounds.
  StageId stage;
  Bytes over = 0.0;
};

// limit 0: none. `level`: what recomputed layers keep.
MemoryBounds memory_bounds(const CostModel& cost, const std::vector<Tokens>& lengths, Bytes limit,
                           Keep level = Keep::kInput);

}  // namespace infinipipe
