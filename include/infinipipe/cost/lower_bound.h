// What no schedule of a batch can beat under a cost model. The argument is docs/simulator.md's.
#pragma once

#include <span>
#include <vector>

#include "infinipipe/core/plan.h"
#include "infinipipe/cost/cost_model.h"
#include "infinipipe/cost/profile.h"

namespace infinipipe {

struct LowerBound {
  Seconds seconds = 0.0;    // the bound
  Seconds work = 0.0;       // its part: the busiest stage's least work, with filling and draining
  Seconds chain = 0.0;      // its part: the largest chunk's (or sequence's) way through all stages
  Seconds recompute = 0.0;  // seconds of recomputation, over all stages, that memory forces
  int chunks = 1;           // over all replicas, fewer are impossible or slower
  // False: some sequence does not fit even when all is recomputed; then the bound ignores memory.
  bool fits = true;
};

// Over every chunking, packing, order, recomputation, splitting of backwards and assignment to
// replicas, for the given parallelism, and over every layer split with at least one layer a stage.
// `limit`: bytes per stage, 0: none. `forward_only`: an evaluation of the batch.
// O(layers x sequences + stages x layers^2). Throws as CostModel does.
LowerBound lower_bound(const Profile& profile, const Parallelism& parallelism, int layers,
                       std::span<const Tokens> sequences, Bytes limit, bool forward_only = false);

// The same for the cost model's own layer split: never less than the bound over every split.
LowerBound lower_bound(const CostModel& cost, std::span<const Tokens> sequences, Bytes limit,
                       bool forward_only = false);

}  // namespace infinipipe
