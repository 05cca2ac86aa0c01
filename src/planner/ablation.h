// What stands in for a part of the elastic planner that is switched off (PlannerFeatures).
#pragma once

#include <optional>

#include "infinipipe/planner/planner.h"
#include "planner/step_order.h"

namespace infinipipe {

// process_sequences() where all features are on. Without elastic_chunking slices of
// ceil(longest / options.slices) tokens, within the capacities, packed first-fit. Without packing
// the tails and every whole sequence have chunks of their own.
Chunking cut_sequences(const std::vector<Tokens>& sequences, const ChunkSeconds& cost,
                       const ChunkingOptions& options, const PlannerFeatures& features);

// The least r with which the order fits when every chunk recomputes min(r, its stage's layers) on
// every stage. Empty where even all layers do not suffice.
std::optional<RecomputeMatrix> least_uniform_recompute(const StepLists& steps,
                                                       const ChunkTable& table);

}  // namespace infinipipe
