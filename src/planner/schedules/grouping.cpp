#include "planner/schedules/grouping.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace infinipipe {

Seconds segment_recompute_seconds(const ChunkTable& table, int first, int last) {
  const int begin = table.groups[static_cast<std::size_t>(first)].begin;
  const int end = table.groups[static_cast<std::size_t>(last - 1)].end;
  const int longest = table.groups[static_cast<std::size_t>(first)].slices();
  const double count = end - begin;
  Seconds slowest = 0.0;
  for (int p = 0; p < table.stages; ++p) {
    const auto s = static_cast<std::size_t>(p);
    Bytes activation = 0.0;
    Bytes saved = 0.0;
    Bytes grads = 0.0;
    Bytes workspace = 0.0;
    Seconds layer = 0.0;
    for (int k = begin; k < end; ++k) {
      const ChunkEntry& entry = table.at(p, k);
      activation += entry.activation / count;
      saved += entry.saved / count;
      grads = std::max(grads, entry.grads_open);
      workspace = std::max(workspace, entry.workspace);
      layer += entry.layer;
    }
    const double window = std::min(count, static_cast<double>(table.stages - 1 - p + longest));
    const Bytes excess = window * activation + grads - table.budget[s];
    if (!(excess > 0.0)) continue;
    const double layers = std::ceil((excess + workspace) / (window * saved));
    if (!(layers <= table.layers[s])) return std::numeric_limits<double>::infinity();
    slowest = std::max(slowest, layers * layer);
  }
  return slowest;
}

Seconds pipeline_seconds(const ChunkTable& table) {
  if (table.chunks == 0) return 0.0;
  Seconds sum = 0.0;
  for (const ChunkEntry& entry : table.entries) sum += entry.forward + entry.backward;
  return (table.stages - 1) * sum / static_cast<double>(table.entries.size());
}

PipelineStarts group_pipelines(const ChunkTable& table) {
  // Where the slice count changes: a pipeline may begin there.
  std::vector<int> borders = {0};
  const int groups = static_cast<int>(table.groups.size());
  for (int g = 1; g < groups; ++g) {
    const auto i = static_cast<std::size_t>(g);
    if (table.groups[i].slices() != table.groups[i - 1].slices()) borders.push_back(g);
  }
  borders.push_back(groups);
  const Seconds delta = pipeline_seconds(table);
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<Seconds> best(borders.size(), kNever);
  std::vector<std::size_t> from(borders.size(), 0);
  best[0] = 0.0;
  for (std::size_t i = 1; i < borders.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) {
      const Seconds seconds =
          best[k] + delta + segment_recompute_seconds(table, borders[k], borders[i]);
      if (seconds < best[i]) {
        best[i] = seconds;
        from[i] = k;
      }
    }
    // Nothing fits by the estimate: as few sequences together as possible.
    if (best[i] == kNever) from[i] = i - 1;
  }
  PipelineStarts starts;
  for (std::size_t i = borders.size() - 1; i > 0; i = from[i]) starts.push_back(borders[from[i]]);
  std::reverse(starts.begin(), starts.end());
  return starts;
}

}  // namespace infinipipe
