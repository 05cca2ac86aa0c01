// Makes an order on a simulated clock. A stage that is free runs its next backward if that is
// ready, else a forward that fits in memory, else a pending weight gradient. There is no barrier
// between sequences or pipelines.
#pragma once

#include <optional>

#include "planner/schedules/stage_steps.h"

namespace infinipipe {

struct ListOptions {
  // How far a stage may run ahead. Let G be the group whose backward is next. Of the chunks behind
  // G a stage may have run forward as many as the group after G has slices, one for each later
  // stage, and `slack` more. -1: no limit.
  int slack = -1;
  // So many chunks, the last in backward order, have their backward split in I and W.
  int split_last = 0;
};

struct ListSchedule {
  StepLists steps;
  Seconds seconds = 0.0;
};

// With this recomputation, memory never exceeds the table's budget, and no stage waits for memory
// for ever: a forward starts only where all groups in flight could still be finished one after
// another, in backward order, each with the memory that is then free (the banker's condition).
// Empty where one group alone does not fit. Deterministic; O(steps x (live groups + log)).
std::optional<ListSchedule> list_schedule(const ChunkTable& table, const RecomputeMatrix& recompute,
                                          const ListOptions& options);

}  // namespace infinipipe
