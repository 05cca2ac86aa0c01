// Stage-aware chunk-level adaptive checkpointing (eq. 15-20 of arXiv 2509.21275; docs/planner.md).
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

// The integer programme of an order.
//
// Variables. Recomputation on one stage delays the other stages by as much. So all (stage, chunk)
// pairs on one diagonal, where f2b(chunk) + stages - 1 - stage is the same, may recompute at the
// same time, and together they cost as much as the slowest of them. Each diagonal of each pipeline
// therefore has one variable: how many layers its pairs recompute. It is at most the fewest layers
// of a stage on the diagonal, and each costs the diagonal's slowest layer. A pair whose stage has
// more layers than that has one more variable of its own for the rest.
//
// Rows. There is one for each backward on each stage: the activations in flight at that time, dK
// and dV, and one recomputed layer must fit. Rows that follow from other rows are left out, and a
// stage on which everything fits without recomputation has none.
struct CheckpointProgram {
  CoveringProgram program;
  std::vector<int> diagonal;  // [stage, chunk] as ChunkTable: variable
  std::vector<int> extra;     // likewise: variable, or -1
};
CheckpointProgram checkpoint_program(const StepLists& steps, const ChunkTable& table,
                                     const PipelineStarts& starts);

// Solves the programme. Then, stage by stage, it drops recomputation that a diagonal has only
// because another of its stages needs it. Empty where the order does not fit even with full
// recomputation.
std::optional<CheckpointSolution> solve_checkpointing(const StepLists& steps,
                                                      const ChunkTable& table,
                                                      const PipelineStarts& starts,
                                                      const SolverLimits& limits);

}  // namespace infinipipe
