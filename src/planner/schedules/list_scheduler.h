// Orders by a simulated clock: a free stage takes its ready backward, else a forward that fits in
// memory, else a pending weight gradient. No barrier between sequences or pipelines.
#pragma once

#include <optional>

#include "planner/schedules/stage_steps.h"

namespace infinipipe {

struct ListOptions {
  // How many chunks a stage may run ahead of the sequence that is next to go backward, beyond the
  // next sequence's slices and one chunk for each later stage. -1: no limit.
  int slack = -1;
  // The backwards of the last so many chunks (in backward order) are split in I and W.
  int split_last = 0;
};

struct ListSchedule {
  StepLists steps;
  Seconds seconds = 0.0;
};

// Memory never exceeds the table's room with this recomputation: a forward starts only where, group
// after group in backward order, each could still be brought to its end with what is then free
// (the banker's condition), so no stage can be left waiting for memory for ever. Empty where one
// group alone does not fit. Deterministic; O(steps x (live groups + log)).
std::optional<ListSchedule> list_schedule(const ChunkTable& table, const RecomputeMatrix& recompute,
                                          const ListOptions& options);

}  // namespace infinipipe
