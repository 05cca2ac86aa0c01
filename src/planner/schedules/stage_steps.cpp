#include "planner/schedules/stage_steps.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

#include "cost/pipeline_clock.h"

namespace infinipipe {

namespace {

// Bytes of one stage while its steps run.
class Ledger final {
 public:
  Ledger(int stage, const ChunkTable& table) : stage_(stage), table_(table) {}

  // Bytes during the step.
  Bytes begin(const Step& step, int recompute) { return held_.begin(memory(step, recompute)); }
  void end(const Step& step, int recompute) { held_.end(memory(step, recompute)); }
  void lower(Bytes bytes) { held_.lower(bytes); }

 private:
  MemoryStep memory(const Step& step, int recompute) const {
    return table_.at(stage_, step.chunk).memory(step.op, recompute);
  }

  int stage_;
  const ChunkTable& table_;
  HeldBytes held_;
};

// Where each chunk's activations are freed, as a position in the stage's steps.
std::vector<int> free_positions(const std::vector<Step>& steps, int chunks) {
  std::vector<int> positions(static_cast<std::size_t>(chunks), -1);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (ends_backward(steps[i].op)) {
      positions[static_cast<std::size_t>(steps[i].chunk)] = static_cast<int>(i);
    }
  }
  return positions;
}

// `most`: layers that each entry may recompute; null: all of the stage's.
bool sweep_stage(const std::vector<Step>& steps, int stage, const ChunkTable& table,
                 const RecomputeMatrix* most, RecomputeMatrix& recompute) {
  const Bytes budget = table.budget[static_cast<std::size_t>(stage)];
  const int all = table.layers[static_cast<std::size_t>(stage)];
  const std::vector<int> freed = free_positions(steps, table.chunks);
  std::priority_queue<std::pair<int, int>> alive;  // (freed at, chunk), what can recompute more
  // Chunks that wait for W: beginning to recompute now would change a step that is past.
  std::vector<bool> settled(static_cast<std::size_t>(table.chunks), false);
  Ledger ledger(stage, table);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    int& own = recompute[table.index(stage, step.chunk)];
    Bytes bytes = ledger.begin(step, own);
    if (step.op == Op::kForward) {
      alive.emplace(freed[static_cast<std::size_t>(step.chunk)], step.chunk);
    }
    while (bytes > budget) {
      if (alive.empty() || alive.top().first < static_cast<int>(i)) return false;
      const int chunk = alive.top().second;
      const ChunkEntry& entry = table.at(stage, chunk);
      int& count = recompute[table.index(stage, chunk)];
      const int layers = most != nullptr ? (*most)[table.index(stage, chunk)] : all;
      if (count == layers || entry.saved <= 0.0 ||
          (count == 0 && settled[static_cast<std::size_t>(chunk)])) {
        alive.pop();
        continue;
      }
      const double needed = std::ceil((bytes - budget) / entry.saved);
      const int more =
          needed >= layers - count ? layers - count : std::max(1, static_cast<int>(needed));
      const bool first = count == 0;
      count += more;
      ledger.lower(more * entry.saved);
      bytes -= more * entry.saved;
      // The chunk whose step this is starts to need its workspace.
      if (first && chunk == step.chunk) bytes += entry.memory(step.op, count).holds;
    }
    ledger.end(step, own);
    if (step.op == Op::kInputGrad) settled[static_cast<std::size_t>(step.chunk)] = true;
  }
  return true;
}

}  // namespace

Timing time_steps(const StepLists& steps, const ChunkTable& table,
                  const RecomputeMatrix& recompute) {
  const auto stages = static_cast<std::size_t>(table.stages);
  Timing timing;
  timing.end.resize(stages);
  PipelineClock clock(stages, table.transfer);
  std::size_t total = 0;
  for (std::size_t p = 0; p < stages; ++p) {
    timing.end[p].reserve(steps[p].size());
    total += steps[p].size();
  }
  run_to_end(stages, total, [&](std::size_t p) {
    std::vector<Seconds>& ends = timing.end[p];
    const std::size_t before = ends.size();
    while (ends.size() < steps[p].size()) {
      const Step& step = steps[p][ends.size()];
      const auto chunk = static_cast<std::size_t>(step.chunk);
      if (clock.arrival(step.op, p, chunk) == PipelineClock::kNotArrived) break;
      const std::size_t entry = table.index(static_cast<int>(p), step.chunk);
      const Seconds seconds = table.entries[entry].seconds(step.op, recompute[entry]);
      ends.push_back(clock.run(step.op, p, chunk, seconds).end);
    }
    if (!ends.empty()) timing.seconds = std::max(timing.seconds, ends.back());
    return ends.size() - before;
  });
  return timing;
}

Bytes peak_bytes(const std::vector<Step>& steps, int stage, const ChunkTable& table,
                 const RecomputeMatrix& recompute) {
  Ledger ledger(stage, table);
  Bytes peak = 0.0;
  for (const Step& step : steps) {
    const int r = recompute[table.index(stage, step.chunk)];
    peak = std::max(peak, ledger.begin(step, r));
    ledger.end(step, r);
  }
  return peak;
}

bool fits(const StepLists& steps, const ChunkTable& table, const RecomputeMatrix& recompute) {
  for (int p = 0; p < table.stages; ++p) {
    const auto s = static_cast<std::size_t>(p);
    if (peak_bytes(steps[s], p, table, recompute) > table.budget[s]) return false;
  }
  return true;
}

std::optional<RecomputeMatrix> least_recompute(const StepLists& steps, const ChunkTable& table) {
  RecomputeMatrix recompute(table.entries.size(), 0);
  for (int p = 0; p < table.stages; ++p) {
    if (!sweep_stage(steps[static_cast<std::size_t>(p)], p, table, nullptr, recompute)) {
      return std::nullopt;
    }
  }
  return recompute;
}

RecomputeMatrix least_recompute_within(const StepLists& steps, const ChunkTable& table,
                                       const RecomputeMatrix& most) {
  RecomputeMatrix recompute(table.entries.size(), 0);
  for (int p = 0; p < table.stages; ++p) {
    if (sweep_stage(steps[static_cast<std::size_t>(p)], p, table, &most, recompute)) continue;
    const auto begin = static_cast<std::ptrdiff_t>(table.index(p, 0));
    std::copy_n(most.begin() + begin, table.chunks, recompute.begin() + begin);
  }
  return recompute;
}

Seconds forced_recompute(const std::vector<Step>& steps, int stage, const ChunkTable& table) {
  const Bytes budget = table.budget[static_cast<std::size_t>(stage)];
  Ledger ledger(stage, table);
  std::vector<int> forwarded;  // chunks in forward order
  std::vector<bool> alive(static_cast<std::size_t>(table.chunks), false);
  std::size_t oldest = 0;  // position in `forwarded` of the oldest live chunk
  // most[n]: of disjoint steps whose live chunks are among the first n.
  std::vector<Seconds> most = {0.0};
  for (const Step& step : steps) {
    const auto k = static_cast<std::size_t>(step.chunk);
    const Bytes lacks = ledger.begin(step, 0) - budget;
    if (step.op == Op::kForward) {
      forwarded.push_back(step.chunk);
      alive[k] = true;
      most.push_back(most.back());
    }
    if (lacks > 0.0) {
      double price = std::numeric_limits<double>::infinity();  // seconds a byte
      for (std::size_t i = oldest; i < forwarded.size(); ++i) {
        const ChunkEntry& entry = table.at(stage, forwarded[i]);
        if (!alive[static_cast<std::size_t>(forwarded[i])] || entry.saved <= 0.0) continue;
        price = std::min(price, entry.layer / entry.saved);
      }
      if (std::isfinite(price)) most.back() = std::max(most.back(), most[oldest] + lacks * price);
    }
    ledger.end(step, 0);
    if (ends_backward(step.op)) alive[k] = false;
    while (oldest < forwarded.size() && !alive[static_cast<std::size_t>(forwarded[oldest])]) {
      ++oldest;
    }
  }
  return most.back();
}

Seconds least_seconds(const StepLists& steps, const ChunkTable& table) {
  const RecomputeMatrix none(table.entries.size(), 0);
  Seconds least = time_steps(steps, table, none).seconds;
  Seconds before = 0.0;
  Seconds after = 0.0;
  for (int p = 0; p < table.stages; ++p) {
    const std::vector<Step>& list = steps[static_cast<std::size_t>(p)];
    Seconds work = forced_recompute(list, p, table);
    for (int k = 0; k < table.chunks; ++k) work += table.at(p, k).forward + table.at(p, k).backward;
    least = std::max(least, (before + work + after) * (1.0 - 1e-12));
    const int first = list.front().chunk;
    const int last = list.back().chunk;
    before += table.at(p, first).forward + table.transfer[static_cast<std::size_t>(first)];
    after += table.at(p, last).backward + table.transfer[static_cast<std::size_t>(last)];
  }
  return least;
}

Seconds recompute_seconds(const ChunkTable& table, const RecomputeMatrix& recompute) {
  Seconds sum = 0.0;
  for (std::size_t i = 0; i < recompute.size(); ++i) sum += recompute[i] * table.entries[i].layer;
  return sum;
}

}  // namespace infinipipe
