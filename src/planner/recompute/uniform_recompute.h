// One setting of recomputation for all chunks and stages.
#pragma once

#include <optional>

#include "planner/schedules/stage_steps.h"

namespace infinipipe {

// The least r with which the order fits when every chunk recomputes min(r, its stage's layers) on
// every stage. Empty where even all layers do not suffice.
std::optional<RecomputeMatrix> least_uniform_recompute(const StepLists& steps,
                                                       const ChunkTable& table);

// The least recomputation with which the order fits, as table.passes allows: for each chunk and
// stage of its own, or one setting for all.
std::optional<RecomputeMatrix> least_allowed_recompute(const StepLists& steps,
                                                       const ChunkTable& table);

}  // namespace infinipipe
