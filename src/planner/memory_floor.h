// What memory alone says about chunk sizes, before anything is scheduled.
#pragma once

#include <vector>

#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

struct MemoryFloor {
  // Chunks of at most so many tokens fit one sequence at a time with full recomputation, on every
  // stage; 0: nothing fits. The largest Tokens where memory is unlimited.
  Tokens capacity = 0;
  // The stage that needs most beyond its memory when the longest sequence runs alone in slices of
  // one token with full recomputation, and by how many bytes; only where capacity is 0.
  StageId stage;
  Bytes over = 0.0;
};

// `longest` >= 1; limit 0: none.
MemoryFloor memory_floor(const CostModel& cost, Tokens longest, Bytes limit);

}  // namespace infinipipe
