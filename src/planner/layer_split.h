// Which layers each stage holds.
#pragma once

#include <vector>

#include "infinipipe/planner/planner.h"

namespace infinipipe {

// The split that the context gives; else a balanced one, or equal layers where the pass "layer
// split" is switched off. Throws InputError where there are more stages than layers.
std::vector<LayerRange> stage_layers(const PlanContext& context);

// Layers per stage with the least time on the busiest stage (embedding, head and stage speeds
// counted, nothing recomputed), among splits whose model states fit the limit wherever there is
// one. Among equals, stage by stage, the least sum of squared times, then fewer layers on early
// stages, which hold more chunks in flight. Lengths are not known when a run is laid out, so stages
// are compared on sequences of 8,192 tokens. layers >= stages >= 1. Near O(stages x stages^2)
// whatever the layers, as only splits near the fastest are looked at.
std::vector<int> balance_layers(const Profile& profile, const Parallelism& parallelism, int layers,
                                Bytes limit);

}  // namespace infinipipe
