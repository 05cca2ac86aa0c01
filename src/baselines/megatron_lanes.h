// Micro-batches on Megatron-LM's devices: which lanes of devices run them, and what the step takes.
#pragma once

#include <vector>

#include "baselines/megatron_cost.h"
#include "baselines/system.h"

namespace infinipipe {

struct LaneChunk {
  const MegatronCost* cost = nullptr;
  GroupLoad load;
};

// What one device of every stage runs, or a group of them that always works together.
using Lane = std::vector<LaneChunk>;

// What no schedule of the sequences can beat at a setting: all devices busy without a bubble, or
// the longest sequence alone; neither with the ring's exchanges.
struct StepBound {
  Seconds shared = 0.0;
  Seconds longest = 0.0;

  Seconds seconds() const;  // less what rounding may add
};
StepBound step_bound(const SystemContext& context, const MegatronCost& cost,
                     const std::vector<Tokens>& sequences);

// Seconds, bubble, peaks and status of a step in which each lane runs its chunks by 1F1B over
// `stages` stages, `width` devices of each stage to a lane. Lanes do not wait for each other but at
// the end. Equal lanes are run once. At least one lane has a chunk.
SystemResult run_lanes(const SystemContext& context, int stages, int width,
                       const std::vector<Lane>& lanes);

}  // namespace infinipipe
