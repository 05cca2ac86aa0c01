// From lengths to chunks of near-equal time: cut the long, pack the short (docs/planner.md;
// Alg. 1 of arXiv 2509.21275).
#pragma once

#include <string>
#include <vector>

#include "infinipipe/core/plan.h"
#include "planner/chunking/chunk_seconds.h"
#include "planner/chunking/sub_groups.h"

namespace infinipipe {

struct ChunkingOptions {
  // K: equal-time slices of the longest sequence, >= 1. More where `capacity` asks for it.
  int slices = 1;
  // Most tokens in a chunk; 0: no limit.
  Tokens capacity = 0;
  // Most tokens in a chunk that holds a slice of a cut sequence, where that is fewer than
  // `capacity`. 0: `capacity`.
  Tokens slice_capacity = 0;
  // Up to how many tokens short sequences are packed together. 0: as many as the largest slice has
  // (the paper's T_m). Never above the capacity.
  Tokens pack_tokens = 0;
  // A chunk may grow to so many times the time of a slice; beyond that another chunk is opened. The
  // paper has no such limit. 0: none.
  double loosen_limit = 0.0;
  // Sequences with more tokens stay whole, and their chunks take as long as they take. This is for
  // sequences whose K and V, with the gradients of these, would not fit if they were cut. 0: none.
  Tokens whole_above = 0;
  // The target time T_t to start from, where it is larger than a slice's time. With it chunks of
  // K = 1 may be packed to take longer than the longest sequence.
  Seconds target_seconds = 0.0;
  // Short sequences go to sub-groups of these sizes, of `devices` devices that otherwise share each
  // chunk, where that takes less: by ascending degree. None: the whole group shares every chunk.
  std::span<const SubGroupCost> sub_groups = {};
  int devices = 1;
  // A chunk in sub-groups may take so many times the target time. Larger ones have more sequences
  // to deal, so that their sub-groups end together, and longer ones that need no larger sub-group.
  double sub_group_seconds = 1.0;
};

// What belongs together in the pipeline: all slices of one cut sequence, or one batched chunk.
struct ChunkGroup {
  int begin = 0;  // positions in Chunking::chunks
  int end = 0;

  int slices() const { return end - begin; }
};

struct Chunking {
  // In forward order: groups with more slices first, then more time; ties by sequence index.
  // `recompute` is left empty.
  std::vector<Chunk> chunks;
  std::vector<ChunkGroup> groups;
  std::vector<Seconds> seconds;  // of each chunk, by the given cost function
  Seconds target_seconds = 0.0;  // T_t after loosening
  Tokens target_tokens = 0;      // T_m

  // Slowest chunk / mean chunk - 1; 0 for no chunks.
  double spread() const;
  // One phrase for people that says why the spread is above 5%: which chunks take less time than
  // the slowest, and why they could not be filled. Empty where the spread is at most 5%.
  std::string spread_cause() const;
};

// Boundaries b1 < b2 < ... = `longest` of `slices` equal-time slices, each at most `capacity`
// tokens (0: any): the first ones have `capacity` tokens where equal time would make them longer.
// More slices than asked for where longest > slices x capacity, fewer where longest < slices.
std::vector<Tokens> slice_mesh(Tokens longest, int slices, Tokens capacity,
                               const ChunkSeconds& cost);

// Every token of `sequences` (each >= 1) in exactly one slice. Deterministic: ties go by time, then
// tokens, then sequence index. Near O(n log n).
Chunking process_sequences(const std::vector<Tokens>& sequences, const ChunkSeconds& cost,
                           const ChunkingOptions& options);

}  // namespace infinipipe
