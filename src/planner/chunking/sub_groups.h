// Deals whole sequences to sub-groups of a sequence-parallel group's devices, so that those of one
// chunk end together.
#pragma once

#include <span>
#include <vector>

#include "planner/chunking/chunk_seconds.h"

namespace infinipipe {

// What a chunk costs that a sub-group of so many devices runs.
struct SubGroupCost {
  int degree = 1;
  ChunkSeconds seconds;
};

struct DealOptions {
  std::span<const SubGroupCost> costs;  // by ascending degree; less than all devices each
  ChunkSeconds whole;                   // of a chunk that all devices share
  int devices = 1;                      // of the sequence-parallel group
  Seconds target = 0.0;                 // no chunk takes longer
  Tokens capacity = 0;                  // no device has more than its even share of so many tokens
};

// A batched chunk: the sequences of each sub-group, by index.
struct DealtChunk {
  int degree = 1;
  std::vector<std::vector<int>> groups;
  Seconds seconds = 0.0;  // of the slowest sub-group
};

// The position in `costs` of the sub-groups that do a sequence of so many tokens with the fewest
// seconds times devices, among those that can within target and capacity; of equal ones the
// largest. -1: none does it with fewer than the whole group.
int cheapest_sub_group(Tokens length, const DealOptions& options);

// Chunks of `members`, indices into `lengths` sorted by descending length. A sequence runs in its
// cheapest_sub_group(), or in a larger one where devices would wait there. Sequences that have
// none, or whose chunk would be no faster than on the whole group, are left out and returned in
// `left`, sorted as the members were. Deterministic; O(n log n) but for a few repetitions.
std::vector<DealtChunk> deal_to_sub_groups(const std::vector<int>& members,
                                           const std::vector<Tokens>& lengths,
                                           const DealOptions& options, std::vector<int>& left);

}  // namespace infinipipe
