// A time that no schedule of a batch can beat under a cost model. docs/simulator.md ("Lower bound")
// gives the proof.
#pragma once

#include <span>
#include <vector>

#include "infinipipe/core/plan.h"
#include "infinipipe/cost/cost_model.h"
#include "infinipipe/cost/profile.h"

namespace infinipipe {

struct LowerBound {
  Seconds seconds = 0.0;  // the bound: at least the larger of the next two
  // The busiest stage must do its work, and cannot begin before the pipeline has filled nor end
  // before it has drained.
  Seconds work = 0.0;
  // The largest chunk, or the longest sequence alone, must go through all stages and back.
  Seconds chain = 0.0;
  // Recomputation that memory forces, summed over all stages. Of a given layer split: 0 in the
  // bound over every split.
  Seconds recompute = 0.0;
  int chunks = 1;  // over all replicas; fewer chunks are impossible or slower
  // False: some sequence does not fit even with full recomputation. The bound then ignores memory.
  bool fits = true;
};

// Holds for every chunking, packing, order, recomputation, splitting of backwards and assignment to
// replicas under the given parallelism, and for every layer split that gives each stage a layer.
// `limit`: bytes per stage, 0: none. `forward_only`: an evaluation of the batch. `sub_groups`: of
// plans that may run chunks in sub-groups as well; without it of those that do not.
// O(layers x sequences + stages x log(layers)) but for logarithms of the times. Throws as CostModel
// does.
LowerBound lower_bound(const Profile& profile, const Parallelism& parallelism, int layers,
                       std::span<const Tokens> sequences, Bytes limit, bool forward_only = false,
                       bool sub_groups = false);

// Holds for the cost model's own layer split alone: never less than the bound over every split.
LowerBound lower_bound(const CostModel& cost, std::span<const Tokens> sequences, Bytes limit,
                       bool forward_only = false, bool sub_groups = false);

}  // namespace infinipipe
