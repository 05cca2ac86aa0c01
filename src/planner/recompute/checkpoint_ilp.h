// Stage-aware chunk-level adaptive checkpointing (method.md §5, eq. 15-20 of the paper).
#pragma once

#include <optional>

#include "planner/recompute/milp.h"
#include "planner/schedules/replica_of_steps.h"

namespace infinipipe {

struct CheckpointSolution {
  RecomputeMatrix recompute;
  SolverReport solver;
  Seconds objective = 0.0;  // seconds on the diagonals, before trimming
  Seconds bound = 0.0;      // proven
};

// The integer programme of an order. Recomputation on one stage delays the others by as much, so
// that all (stage, chunk) pairs on one diagonal f2b(chunk) + stages - 1 - stage of a pipeline may
// recompute c layers at the price of one: variable c of the diagonal, at most the fewest layers of
// a stage on it, costing its slowest layer. Stages with more layers than that have a variable of
// their own for the rest. One row for each backward of each stage: what is in flight then, dK and
// dV, and one recomputed layer must fit; rows that others imply are left out, and a stage on which
// everything fits without recomputation has none.
struct CheckpointProgram {
  CoveringProgram program;
  std::vector<int> diagonal;  // [stage, chunk] as ChunkTable: variable
  std::vector<int> extra;     // likewise: variable, or -1
};
CheckpointProgram checkpoint_program(const StepLists& steps, const ChunkTable& table,
                                     const PipelineStarts& starts);

// Solves it and then drops, stage by stage, what the diagonals recompute without need. Empty where
// the order does not fit even with full recomputation.
std::optional<CheckpointSolution> solve_checkpointing(const StepLists& steps,
                                                      const ChunkTable& table,
                                                      const PipelineStarts& starts,
                                                      const SolverLimits& limits);

}  // namespace infinipipe
