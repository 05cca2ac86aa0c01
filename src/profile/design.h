// Which chunks are measured: slices of many lengths behind contexts of many lengths, single
// documents, packed ones, and mixtures, in plans that keep every stage at work.
#pragma once

#include <vector>

#include "base/random.h"
#include "infinipipe/core/plan.h"

namespace infinipipe {

// One document cut in slices, or one chunk of whole documents.
struct DesignGroup {
  std::vector<Chunk> chunks;  // sequences numbered from 0 within the group
  std::vector<Tokens> sequences;
  bool split_backward = false;  // I and W instead of B

  Tokens tokens() const;
};

// Groups in order of importance, so that a short measurement takes the first ones. The longest
// document has `longest` tokens. Deterministic.
std::vector<DesignGroup> design_groups(Tokens longest, const std::vector<LayerRange>& stages,
                                       Random random);

// One plan of the groups in this order, whose recomputed layers keep their attention or not. Every
// stage runs the forwards of a group, then the backwards of the group before it, so that two groups
// are in flight. Every replica has groups of its own, all alike.
Plan design_plan(const std::vector<const DesignGroup*>& groups,
                 const std::vector<LayerRange>& stages, Keep level = Keep::kInput, int replicas = 1,
                 int shards = 1);

}  // namespace infinipipe
