#include "planner/recompute/uniform_recompute.h"

#include <algorithm>

namespace infinipipe {

std::optional<RecomputeMatrix> least_uniform_recompute(const StepLists& steps,
                                                       const ChunkTable& table) {
  const int most = *std::max_element(table.layers.begin(), table.layers.end());
  const auto matrix = [&](int layers) {
    RecomputeMatrix recompute(table.entries.size());
    for (int p = 0; p < table.stages; ++p) {
      const int count = std::min(layers, table.layers[static_cast<std::size_t>(p)]);
      for (int k = 0; k < table.chunks; ++k) recompute[table.index(p, k)] = count;
    }
    return recompute;
  };
  // Not bisected: the first recomputed layer needs workspace, so more is not always less.
  for (int layers = 0; layers <= most; ++layers) {
    RecomputeMatrix recompute = matrix(layers);
    if (fits(steps, table, recompute)) return recompute;
  }
  return std::nullopt;
}

std::optional<RecomputeMatrix> least_allowed_recompute(const StepLists& steps,
                                                       const ChunkTable& table) {
  return table.passes.has(Pass::kAdaptiveRecompute) ? least_recompute(steps, table)
                                                    : least_uniform_recompute(steps, table);
}

}  // namespace infinipipe
