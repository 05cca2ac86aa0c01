#include "planner/memory_floor.h"

#include <algorithm>
#include <limits>

namespace infinipipe {

MemoryFloor memory_floor(const CostModel& cost, Tokens longest, Bytes limit) {
  MemoryFloor floor{.capacity = std::numeric_limits<Tokens>::max(), .stage = StageId{}};
  if (limit <= 0.0) return floor;
  constexpr Tokens kProbe = Tokens{1} << 20;
  const auto tokens = static_cast<double>(longest);
  Bytes worst = 0.0;
  for (int p = 0; p < cost.stage_count(); ++p) {
    const StageId stage(p);
    const int layers = cost.layers(stage);
    const ChunkShape shape{.tokens = kProbe, .slices = 1, .cut_tokens = kProbe};
    const double probe = static_cast<double>(kProbe);
    // Bytes per token with all layers recomputed: in flight, of a cut sequence on top of that, and
    // while its backward runs.
    const double kept = cost.activation_bytes(stage, shape, layers) / probe;
    const double cut =
        (cost.kept_kv_bytes(stage, shape, layers) + cost.kv_grad_bytes(stage, kProbe)) / probe;
    const double work = cost.recompute_workspace_bytes(stage, shape) / probe;
    const Bytes room = limit - cost.state_bytes(stage) - cost.workspace_bytes();
    double most = room / (kept + work);  // one batched chunk
    if (most < tokens) {
      // The longest has to be cut; the rest of its tail chunk may be short sequences.
      most = std::min(most, (room - tokens * (kept + cut)) / (kept + work));
    }
    const Bytes over = std::min(tokens, 1.0) * work + tokens * (kept + cut) - room;
    if (most < 1.0 && (floor.capacity > 0 || over > worst)) {
      worst = over;
      floor.stage = stage;
      floor.over = std::max(over, 1.0);
    }
    floor.capacity = most < 1.0                                   ? 0
                     : most < static_cast<double>(floor.capacity) ? static_cast<Tokens>(most)
                                                                  : floor.capacity;
  }
  return floor;
}

}  // namespace infinipipe
