#include "planner/schedules/stage_steps.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

#include "cost/pipeline_clock.h"

namespace infinipipe {

namespace {

// The bytes that one stage holds while its steps run.
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

// By chunk: the position, in the stage's steps, of the step that frees its activations.
std::vector<int> free_positions(const std::vector<Step>& steps, int chunks) {
  std::vector<int> positions(static_cast<std::size_t>(chunks), -1);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (ends_backward(steps[i].op)) {
      positions[static_cast<std::size_t>(steps[i].chunk)] = static_cast<int>(i);
    }
  }
  return positions;
}

// Finds the least recomputation with which one stage's steps fit, by a greedy sweep over them.
//
// The sweep runs the steps in order and counts bytes. Where a step does not fit, the live chunk
// that is freed last recomputes more layers: what it saves stays saved for the longest time, and so
// helps the most later steps. It recomputes as many layers as the step lacks bytes for, and when it
// can recompute no more, the chunk that is freed next takes its turn.
//
// A chunk's layers are decided on while it is live, but the bytes of its earlier steps were counted
// with what was known then. More recomputation only lowers them, so steps that fitted still fit.
// The exception is a chunk whose I has run without recomputation: to begin recomputing now would
// add workspace to that I, a step that is past. Such a chunk is settled at no recomputation.
class Sweep final {
 public:
  // `most`: layers that each entry may recompute; null: all of the stage's. Entries of the stage in
  // `recompute` must be 0; the sweep raises them.
  Sweep(const std::vector<Step>& steps, int stage, const ChunkTable& table,
        const RecomputeMatrix* most, RecomputeMatrix& recompute)
      : steps_(steps),
        stage_(stage),
        table_(table),
        most_(most),
        recompute_(recompute),
        budget_(table.budget[static_cast<std::size_t>(stage)]),
        freed_(free_positions(steps, table.chunks)),
        settled_(static_cast<std::size_t>(table.chunks), false),
        ledger_(stage, table) {}

  // False where some step does not fit even when all that is live recomputes as much as it may.
  bool run() {
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const Step& step = steps_[i];
      const int& own = recompute_[table_.index(stage_, step.chunk)];
      const Bytes bytes = ledger_.begin(step, own);
      if (step.op == Op::kForward) {
        alive_.emplace(freed_[static_cast<std::size_t>(step.chunk)], step.chunk);
      }
      if (!make_fit(step, static_cast<int>(i), bytes)) return false;
      ledger_.end(step, own);
      if (step.op == Op::kInputGrad) settled_[static_cast<std::size_t>(step.chunk)] = true;
    }
    return true;
  }

 private:
  // `bytes`: held while the step, which stands at `position`, runs.
  bool make_fit(const Step& step, int position, Bytes bytes) {
    while (bytes > budget_) {
      if (alive_.empty() || alive_.top().first < position) return false;
      const int chunk = alive_.top().second;
      const ChunkEntry& entry = table_.at(stage_, chunk);
      int& count = recompute_[table_.index(stage_, chunk)];
      const int layers = most_layers(chunk);
      if (count == layers || entry.saved <= 0.0 ||
          (count == 0 && settled_[static_cast<std::size_t>(chunk)])) {
        alive_.pop();
        continue;
      }
      const double needed = std::ceil((bytes - budget_) / entry.saved);
      const int more =
          needed >= layers - count ? layers - count : std::max(1, static_cast<int>(needed));
      const bool first = count == 0;
      count += more;
      ledger_.lower(more * entry.saved);
      bytes -= more * entry.saved;
      // If this very step is the chunk's backward, it now needs workspace to recompute in.
      if (first && chunk == step.chunk) bytes += entry.memory(step.op, count).holds;
    }
    return true;
  }

  int most_layers(int chunk) const {
    return most_ != nullptr ? (*most_)[table_.index(stage_, chunk)]
                            : table_.layers[static_cast<std::size_t>(stage_)];
  }

  const std::vector<Step>& steps_;
  const int stage_;
  const ChunkTable& table_;
  const RecomputeMatrix* most_;
  RecomputeMatrix& recompute_;
  const Bytes budget_;
  const std::vector<int> freed_;                    // by chunk
  std::priority_queue<std::pair<int, int>> alive_;  // (freed at, chunk), what can recompute more
  std::vector<bool> settled_;                       // by chunk
  Ledger ledger_;
};

bool sweep_stage(const std::vector<Step>& steps, int stage, const ChunkTable& table,
                 const RecomputeMatrix* most, RecomputeMatrix& recompute) {
  return Sweep(steps, stage, table, most, recompute).run();
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
  // most[n]: the largest sum over steps without a common live chunk, whose live chunks are all
  // among the first n that went forward. A step whose oldest live chunk stands at position `oldest`
  // can be added to what most[oldest] stands for.
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
    // `before` is the first chunk's way down to this stage, `after` the last gradient's way up from
    // it.
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
