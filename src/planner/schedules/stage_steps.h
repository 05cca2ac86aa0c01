// The order in which every stage runs the chunks of one chunking, and what follows from it: times,
// memory, and the least recomputation that fits. The rules are the simulator's (docs/profile.md);
// the finished plan is judged by it again.
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

// The most bytes of one stage over its steps, states and workspace left out.
Bytes peak_bytes(const std::vector<Step>& steps, int stage, const ChunkTable& table,
                 const RecomputeMatrix& recompute);
bool fits(const StepLists& steps, const ChunkTable& table, const RecomputeMatrix& recompute);

// Recomputation with which the order fits on every stage, as little as a greedy sweep finds: where
// a step does not fit, the live chunk that stays longest recomputes more. Empty where the order
// does not fit even with full recomputation of what lives at some step.
std::optional<RecomputeMatrix> least_recompute(const StepLists& steps, const ChunkTable& table);

// The same, never above `most`, which must fit; a stage on which the sweep fails keeps `most`.
RecomputeMatrix least_recompute_within(const StepLists& steps, const ChunkTable& table,
                                       const RecomputeMatrix& most);

// Seconds that a stage recomputes at least, whatever recomputation makes the order fit: steps with
// no live chunk in common each need what they lack, at the cheapest live chunk's price. The most
// that any choice of such steps proves.
Seconds forced_recompute(const std::vector<Step>& steps, int stage, const ChunkTable& table);

// No recomputation with which the order fits runs it in less: without any the clock says, and a
// stage needs its work and what it must recompute, behind the first chunk's way to it and before
// the last gradient's way back.
Seconds least_seconds(const StepLists& steps, const ChunkTable& table);

// Seconds spent recomputing, over all stages.
Seconds recompute_seconds(const ChunkTable& table, const RecomputeMatrix& recompute);

}  // namespace infinipipe
