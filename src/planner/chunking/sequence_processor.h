// From lengths to chunks of near-equal time: cut the long, pack the short (method.md §4, Alg. 1 of
// arXiv 2509.21275).
#pragma once

#include <string>
#include <vector>

#include "infinipipe/core/plan.h"
#include "planner/chunking/chunk_seconds.h"

namespace infinipipe {

struct ChunkingOptions {
  // K: equal-time slices of the longest sequence, >= 1. More where `capacity` asks for it.
  int slices = 1;
  // Most tokens in a chunk; 0: no limit.
  Tokens capacity = 0;
  // Most tokens in a chunk that holds a slice of a cut sequence, where fewer; 0: `capacity`.
  Tokens slice_capacity = 0;
  // Up to how many tokens short sequences are packed together. 0: as many as the largest slice has
  // (the paper's T_m). Never above the capacity.
  Tokens pack_tokens = 0;
  // Up to which multiple of a slice's time a chunk may grow before another one is opened instead.
  // The paper has no limit; 0: none.
  double loosen_limit = 0.0;
  // Sequences with more tokens stay whole, each in a chunk of its own time; 0: none do. For where
  // the K and V and their gradients that a cut needs would not fit.
  Tokens whole_above = 0;
  // T_t to start with, where larger than a slice's time: lets K = 1 pack beyond the longest.
  Seconds target_seconds = 0.0;
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
  // Why the spread is above 5%, as one phrase: which chunks are shorter than the slowest, and what
  // kept them so. Empty where it is not.
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
