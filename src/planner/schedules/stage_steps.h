// The order in which every stage runs the chunks of one chunking, and what follows from an order:
// times, memory, and the least recomputation with which it fits. Times and memory follow the
// simulator's rules (docs/profile.md); the simulator judges the finished plan again.
#pragma once

#include <optional>
#include <vector>

#include "infinipipe/core/plan.h"
#include "planner/chunking/chunk_table.h"

namespace infinipipe {

struct Step {
  Op op = Op::kForward;
  int chunk = 0;  // position in the chunking, over all pipelines

  bool operator==(const Step&) const = default;
};

using StepLists = std::vector<std::vector<Step>>;  // by stage

// When each step ends, on the clock that starts with the first forward.
struct Timing {
  Seconds seconds = 0.0;
  std::vector<std::vector<Seconds>> end;  // by stage, as the steps
};

// The order must be free of deadlock.
Timing time_steps(const StepLists& steps, const ChunkTable& table,
                  const RecomputeMatrix& recompute);

// The most bytes that one stage holds during its steps; states and workspace are left out.
Bytes peak_bytes(const std::vector<Step>& steps, int stage, const ChunkTable& table,
                 const RecomputeMatrix& recompute);
bool fits(const StepLists& steps, const ChunkTable& table, const RecomputeMatrix& recompute);

// Recomputation with which the order fits on every stage, as little as a greedy sweep over the
// steps finds: where a step does not fit, the live chunk that is freed last recomputes more layers.
// A chunk is live from its forward to the end of its backward. Empty where some step does not fit
// even when all chunks that are live then recompute all layers.
std::optional<RecomputeMatrix> least_recompute(const StepLists& steps, const ChunkTable& table);

// The same, but no entry is above that of `most`, with which the order must fit. A stage on which
// the sweep fails gets what `most` says.
RecomputeMatrix least_recompute_within(const StepLists& steps, const ChunkTable& table,
                                       const RecomputeMatrix& most);

// A lower bound of the seconds that a stage recomputes, for any recomputation with which the order
// fits. A step that lacks bytes must get them from its live chunks, which costs at least their
// number times the price of a byte of the cheapest live chunk. Steps that have no live chunk in
// common cannot share what they pay, so their costs add up; the set of such steps with the largest
// sum is taken.
Seconds forced_recompute(const std::vector<Step>& steps, int stage, const ChunkTable& table);

// A lower bound of the order's time, for any recomputation with which it fits. It is the larger of
// two bounds. First, the time that the clock says without recomputation. Second, for each stage:
// the way of its first chunk down to it, its work with what it must recompute, and the way of its
// last gradient back up.
Seconds least_seconds(const StepLists& steps, const ChunkTable& table);

// Seconds spent recomputing, over all stages.
Seconds recompute_seconds(const ChunkTable& table, const RecomputeMatrix& recompute);

}  // namespace infinipipe
