#include "planner/list_scheduler.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

struct Event {
  Seconds at = 0.0;
  int stage = 0;

  bool operator>(const Event& other) const {
    return at != other.at ? at > other.at : stage > other.stage;
  }
};

struct StageState {
  int next_forward = 0;
  int next_backward = 0;  // position in the table's backward order
  Seconds free = 0.0;
  std::vector<int> pending;  // chunks whose W is due, oldest first from `pending_begin`
  std::size_t pending_begin = 0;
  Bytes pending_bytes = 0.0;
  std::vector<Bytes> held;  // by group: activations and dK, dV, pending W's left out
  Bytes held_total = 0.0;
  std::vector<Bytes> peaks;   // by chunk: group_peaks of its group
  std::vector<Seconds> down;  // arrival of each chunk's input; < 0: not known yet
  std::vector<Seconds> up;    // arrival of each chunk's gradient
  Seconds link_down = 0.0;
  Seconds link_up = 0.0;

  bool has_pending() const { return pending_begin < pending.size(); }
};

class Scheduler final {
 public:
  Scheduler(const ChunkTable& table, const RecomputeMatrix& recompute, const ListOptions& options)
      : table_(table), recompute_(recompute), options_(options) {
    result_.steps.resize(static_cast<std::size_t>(table.stages));
    stages_.resize(static_cast<std::size_t>(table.stages));
  }

  bool prepare() {
    for (int p = 0; p < table_.stages; ++p) {
      StageState& stage = stages_[static_cast<std::size_t>(p)];
      stage.held.assign(table_.groups.size(), 0.0);
      stage.down.assign(static_cast<std::size_t>(table_.chunks), p == 0 ? 0.0 : -1.0);
      stage.up.assign(static_cast<std::size_t>(table_.chunks), -1.0);
      stage.peaks.reserve(static_cast<std::size_t>(table_.chunks));
      for (int g = 0; g < static_cast<int>(table_.groups.size()); ++g) {
        for (const Bytes peak : group_peaks(table_, recompute_, p, g)) {
          stage.peaks.push_back(peak);
        }
        if (stage.peaks.back() > room(p)) return false;
      }
      events_.push({0.0, p});
    }
    return true;
  }

  ListSchedule run() {
    while (!events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      StageState& stage = stages_[static_cast<std::size_t>(event.stage)];
      if (stage.free <= event.at) start_something(event.stage, event.at);
    }
    for (const StageState& stage : stages_) {
      INFINIPIPE_ASSERT(stage.next_backward == table_.chunks && !stage.has_pending(),
                        "the list scheduler stopped early");
    }
    return std::move(result_);
  }

 private:
  Bytes room(int p) const { return table_.room[static_cast<std::size_t>(p)]; }
  int group_of(int chunk) const { return table_.group_of[static_cast<std::size_t>(chunk)]; }
  const ChunkGroup& group(int g) const { return table_.groups[static_cast<std::size_t>(g)]; }
  Bytes activation(int p, int chunk) const {
    const ChunkEntry& entry = table_.at(p, chunk);
    return entry.activation - recompute_[table_.index(p, chunk)] * entry.saved;
  }

  void start_something(int p, Seconds now) {
    StageState& stage = stages_[static_cast<std::size_t>(p)];
    bool memory_waits = false;
    if (stage.next_backward < table_.chunks) {
      const int chunk = table_.backward[static_cast<std::size_t>(stage.next_backward)];
      const Seconds ready = stage.up[static_cast<std::size_t>(chunk)];
      if (ready >= 0.0 && ready <= now) {
        if (backward_fits(p, chunk)) return start_backward(p, chunk, now);
        memory_waits = true;
      }
    }
    if (!memory_waits && stage.next_forward < table_.chunks) {
      const int chunk = stage.next_forward;
      const Seconds ready = stage.down[static_cast<std::size_t>(chunk)];
      if (ready >= 0.0 && ready <= now && in_window(p, chunk) && is_safe(p, chunk) &&
          forward_fits(p, chunk)) {
        return start_forward(p, chunk, now);
      }
    }
    if (stage.has_pending()) start_weight(p, now);
  }

  // Beside what is there now, its own temporaries included. A stage with nothing in flight always
  // has the room: group_peaks() counts them.
  bool forward_fits(int p, int chunk) const {
    const StageState& stage = stages_[static_cast<std::size_t>(p)];
    const ChunkEntry& entry = table_.at(p, chunk);
    const bool again = recompute_[table_.index(p, chunk)] > 0 && entry.forward_workspace > 0.0;
    if (!stage.has_pending() && !again) return true;
    return stage.held_total + stage.pending_bytes + activation(p, chunk) +
               (again ? entry.forward_workspace : 0.0) <=
           room(p);
  }

  // Only pending weight gradients can stand in the way of a backward.
  bool backward_fits(int p, int chunk) const {
    const StageState& stage = stages_[static_cast<std::size_t>(p)];
    const ChunkEntry& entry = table_.at(p, chunk);
    const Bytes more =
        entry.grads_open + (recompute_[table_.index(p, chunk)] > 0 ? entry.workspace : 0.0);
    return !stage.has_pending() || stage.held_total + stage.pending_bytes + more <= room(p);
  }

  bool in_window(int p, int chunk) const {
    if (options_.slack < 0) return true;
    const StageState& stage = stages_[static_cast<std::size_t>(p)];
    const int oldest = group_of(table_.backward[static_cast<std::size_t>(stage.next_backward)]);
    const int ahead = chunk - group(oldest).end;
    if (ahead < 0) return true;
    return ahead < group(oldest + 1).slices() + (table_.stages - 1 - p) + options_.slack;
  }

  // With this chunk's forward done, can every group still be finished, one after the other?
  bool is_safe(int p, int chunk) const {
    const StageState& stage = stages_[static_cast<std::size_t>(p)];
    const int newest = group_of(chunk);
    const int next = table_.backward[static_cast<std::size_t>(stage.next_backward)];
    const int oldest = group_of(next);
    Bytes later = 0.0;  // held by the groups behind g
    for (int g = newest; g >= oldest; --g) {
      const auto index = static_cast<std::size_t>(g);
      const int last = g == oldest ? next : group(g).end - 1;
      if (later + stage.peaks[static_cast<std::size_t>(last)] > room(p)) return false;
      later += stage.held[index] + (g == newest ? activation(p, chunk) : 0.0);
    }
    return true;
  }

  void record(int p, Op op, int chunk, Seconds end) {
    result_.steps[static_cast<std::size_t>(p)].push_back({op, chunk});
    result_.seconds = std::max(result_.seconds, end);
    stages_[static_cast<std::size_t>(p)].free = end;
    events_.push({end, p});
  }

  void start_forward(int p, int chunk, Seconds now) {
    StageState& stage = stages_[static_cast<std::size_t>(p)];
    const auto k = static_cast<std::size_t>(chunk);
    const Seconds end = now + table_.at(p, chunk).forward;
    stage.held[static_cast<std::size_t>(group_of(chunk))] += activation(p, chunk);
    stage.held_total += activation(p, chunk);
    ++stage.next_forward;
    record(p, Op::kForward, chunk, end);
    if (p + 1 == table_.stages) {
      stage.up[k] = end;
      return;
    }
    stage.link_down = std::max(end, stage.link_down) + table_.transfer[k];
    stages_[static_cast<std::size_t>(p + 1)].down[k] = stage.link_down;
    events_.push({stage.link_down, p + 1});
  }

  void start_backward(int p, int chunk, Seconds now) {
    StageState& stage = stages_[static_cast<std::size_t>(p)];
    const auto k = static_cast<std::size_t>(chunk);
    const auto g = static_cast<std::size_t>(group_of(chunk));
    const ChunkEntry& entry = table_.at(p, chunk);
    const bool split = stage.next_backward >= table_.chunks - options_.split_last;
    const Seconds again = recompute_[table_.index(p, chunk)] * entry.layer;
    const Seconds end = now + ((split ? entry.backward - entry.weight : entry.backward) + again);
    // By the end of this step: the activations go (or wait for W), and this slice's share of dK,
    // dV.
    const Bytes change = entry.grads_open - entry.grads_free - activation(p, chunk);
    stage.held[g] += change;
    stage.held_total += change;
    if (split) {
      stage.pending.push_back(chunk);
      stage.pending_bytes += activation(p, chunk);
    }
    ++stage.next_backward;
    if (chunk == group(group_of(chunk)).begin) {
      stage.held_total -= stage.held[g];  // rounding
      stage.held[g] = 0.0;
    }
    record(p, split ? Op::kInputGrad : Op::kBackward, chunk, end);
    if (p == 0) return;
    stage.link_up = std::max(end, stage.link_up) + table_.transfer[k];
    stages_[static_cast<std::size_t>(p - 1)].up[k] = stage.link_up;
    events_.push({stage.link_up, p - 1});
  }

  void start_weight(int p, Seconds now) {
    StageState& stage = stages_[static_cast<std::size_t>(p)];
    const int chunk = stage.pending[stage.pending_begin++];
    stage.pending_bytes = stage.has_pending() ? stage.pending_bytes - activation(p, chunk) : 0.0;
    record(p, Op::kWeightGrad, chunk, now + table_.at(p, chunk).weight);
  }

  const ChunkTable& table_;
  const RecomputeMatrix& recompute_;
  const ListOptions& options_;
  std::vector<StageState> stages_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  ListSchedule result_;
};

}  // namespace

std::optional<ListSchedule> list_schedule(const ChunkTable& table, const RecomputeMatrix& recompute,
                                          const ListOptions& options) {
  Scheduler scheduler(table, recompute, options);
  if (!scheduler.prepare()) return std::nullopt;
  return scheduler.run();
}

}  // namespace infinipipe
