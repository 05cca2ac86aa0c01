#include "planner/order_floor.h"

#include <algorithm>
#include <limits>

namespace infinipipe {

namespace {

// A backward at which something must have been recomputed: of chunks from `first` to `last` (all
// that live lie between), at least `seconds`.
struct Demand {
  int first = 0;
  int last = 0;
  Seconds seconds = 0.0;
};

// Seconds of recomputing layers of `alive` that make up `excess` bytes, cheapest bytes first.
Seconds cheapest(std::vector<int> alive, int stage, const ChunkTable& table, Bytes excess) {
  const int layers = table.layers[static_cast<std::size_t>(stage)];
  const auto price = [&](int chunk) {
    const ChunkEntry& entry = table.at(stage, chunk);
    return entry.saved > 0.0 ? entry.layer / entry.saved : std::numeric_limits<double>::infinity();
  };
  std::sort(alive.begin(), alive.end(), [&](int a, int b) { return price(a) < price(b); });
  Seconds seconds = 0.0;
  for (const int chunk : alive) {
    const ChunkEntry& entry = table.at(stage, chunk);
    if (entry.saved <= 0.0) break;
    const Bytes most = layers * entry.saved;
    if (most >= excess) return seconds + excess * price(chunk);
    excess -= most;
    seconds += layers * entry.layer;
  }
  return std::numeric_limits<double>::infinity();
}

std::vector<Demand> demands(const std::vector<Step>& steps, int stage, const ChunkTable& table) {
  std::vector<Demand> result;
  std::vector<int> alive;
  Bytes bytes = 0.0;
  for (const Step& step : steps) {
    const ChunkEntry& entry = table.at(stage, step.chunk);
    if (step.op == Op::kForward) {
      alive.push_back(step.chunk);
      bytes += entry.activation;
      continue;
    }
    if (step.op != Op::kWeightGrad) {
      bytes += entry.grads_open;
      const Bytes excess = bytes - table.room[static_cast<std::size_t>(stage)];
      if (excess > 0.0) {
        const auto [first, last] = std::minmax_element(alive.begin(), alive.end());
        result.push_back({*first, *last, cheapest(alive, stage, table, excess)});
      }
      bytes -= entry.grads_free;
    }
    if (step.op == Op::kBackward || step.op == Op::kWeightGrad) {
      std::erase(alive, step.chunk);
      bytes -= entry.activation;
    }
  }
  return result;
}

// The most seconds of demands no two of which share a chunk.
Seconds disjoint_demands(std::vector<Demand> all) {
  std::sort(all.begin(), all.end(), [](const Demand& a, const Demand& b) {
    return a.last != b.last ? a.last < b.last : a.first < b.first;
  });
  std::vector<Seconds> best(all.size() + 1, 0.0);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto before =
        std::partition_point(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(i),
                             [&](const Demand& d) { return d.last < all[i].first; });
    const auto count = static_cast<std::size_t>(std::distance(all.begin(), before));
    best[i + 1] = std::max(best[i], best[count] + all[i].seconds);
  }
  return best.back();
}

}  // namespace

Seconds order_floor(const StepLists& steps, const ChunkTable& table) {
  if (table.chunks == 0) return 0.0;
  const Timing free = time_steps(steps, table, RecomputeMatrix(table.entries.size(), 0));
  Seconds floor = free.seconds;
  for (int p = 0; p < table.stages; ++p) {
    const auto s = static_cast<std::size_t>(p);
    Seconds busy = free.end[s].front() - table.at(p, steps[s].front().chunk).forward;
    for (int k = 0; k < table.chunks; ++k) busy += table.at(p, k).forward + table.at(p, k).backward;
    busy += disjoint_demands(demands(steps[s], p, table));
    // After its last step, if that is the last gradient's B, the stages before it have theirs.
    const Step& last = steps[s].back();
    if (last.op == Op::kBackward) {
      for (int q = 0; q < p; ++q) {
        busy +=
            table.transfer[static_cast<std::size_t>(last.chunk)] + table.at(q, last.chunk).backward;
      }
    }
    floor = std::max(floor, busy);
  }
  return floor;
}

}  // namespace infinipipe
