// What an order takes at least, whatever is recomputed.
#pragma once

#include "planner/step_order.h"

namespace infinipipe {

// No recomputation with which `steps` fit makes them faster than this: on each stage the work, the
// least recomputation that some backwards with disjoint sets of live chunks ask for (each as a
// fractional knapsack), the wait for the first forward, and the last gradient's way to stage 0.
// Never below the time without recomputation. O(steps x (live chunks x log + log)).
Seconds order_floor(const StepLists& steps, const ChunkTable& table);

}  // namespace infinipipe
