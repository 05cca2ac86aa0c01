#include "planner/schedules/list_scheduler.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>

#include "cost/pipeline_clock.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

// The scheduler is an event loop. An event says that at a time a stage may have something to start:
// an operation on it has ended, or a message has arrived. Events are taken in order of time, then
// stage, so that the result is the same on every machine.
struct Event {
  Seconds at = 0.0;
  int stage = 0;

  bool operator>(const Event& other) const {
    return at != other.at ? at > other.at : stage > other.stage;
  }
};

struct StageState {
  int next_forward = 0;
  int next_backward = 0;     // position in the table's backward order
  std::vector<int> pending;  // chunks whose W is due, oldest first from `pending_begin`
  std::size_t pending_begin = 0;
  Bytes pending_bytes = 0.0;
  std::vector<Bytes> held;   // by group: activations, dK and dV; without what pending W's need
  Bytes held_total = 0.0;    // the sum of `held`
  std::vector<Bytes> peaks;  // by chunk: group_peaks() of its group

  bool has_pending() const { return pending_begin < pending.size(); }
};

class Scheduler final {
 public:
  Scheduler(const ChunkTable& table, const RecomputeMatrix& recompute, const ListOptions& options)
      : table_(table),
        recompute_(recompute),
        options_(options),
        clock_(static_cast<std::size_t>(table.stages), table.transfer) {
    result_.steps.resize(static_cast<std::size_t>(table.stages));
    for (std::vector<Step>& list : result_.steps) {
      list.reserve(static_cast<std::size_t>(2 * table.chunks + options.split_last));
    }
    stages_.resize(static_cast<std::size_t>(table.stages));
  }

  // False where a group does not fit even when it runs alone.
  bool prepare() {
    for (int p = 0; p < table_.stages; ++p) {
      StageState& stage = stages_[static_cast<std::size_t>(p)];
      stage.held.assign(table_.groups.size(), 0.0);
      stage.peaks.reserve(static_cast<std::size_t>(table_.chunks));
      for (int g = 0; g < static_cast<int>(table_.groups.size()); ++g) {
        for (const Bytes peak : group_peaks(table_, recompute_, p, g)) {
          stage.peaks.push_back(peak);
        }
        if (stage.peaks.back() > budget(p)) return false;
      }
      events_.push({0.0, p});
    }
    return true;
  }

  ListSchedule run_all() {
    while (!events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      if (clock_.free(static_cast<std::size_t>(event.stage)) <= event.at) {
        start_something(event.stage, event.at);
      }
    }
    for (const StageState& stage : stages_) {
      INFINIPIPE_ASSERT(stage.next_backward == table_.chunks && !stage.has_pending(),
                        "the list scheduler stopped early");
    }
    return std::move(result_);
  }

 private:
  Bytes budget(int p) const { return table_.budget[static_cast<std::size_t>(p)]; }
  int group_of(int chunk) const { return table_.group_of[static_cast<std::size_t>(chunk)]; }
  const ChunkGroup& group(int g) const { return table_.groups[static_cast<std::size_t>(g)]; }
  MemoryStep memory(Op op, int p, int chunk) const {
    const std::size_t entry = table_.index(p, chunk);
    return table_.entries[entry].memory(op, recompute_[entry]);
  }
  Bytes activation(int p, int chunk) const { return memory(Op::kForward, p, chunk).opens.total(); }
  bool arrived(Op op, int p, int chunk, Seconds now) const {
    return clock_.arrived(op, static_cast<std::size_t>(p), static_cast<std::size_t>(chunk), now);
  }

  // The choice of a free stage.
  //
  // A backward goes first: it frees memory, and other stages wait for its gradient.
  //
  // If the backward is ready but does not fit, pending weight gradients are in its way. No forward
  // may start then, as it would take even more memory; a weight gradient runs instead.
  //
  // A forward starts if it is within the window and fits, and if every group could still be
  // finished afterwards. Weight gradients fill the rest of the time.
  void start_something(int p, Seconds now) {
    StageState& stage = stages_[static_cast<std::size_t>(p)];
    bool memory_waits = false;
    if (stage.next_backward < table_.chunks) {
      const int chunk = table_.backward[static_cast<std::size_t>(stage.next_backward)];
      if (arrived(Op::kBackward, p, chunk, now)) {
        if (backward_fits(p, chunk)) return start_backward(p, chunk, now);
        memory_waits = true;
      }
    }
    if (!memory_waits && stage.next_forward < table_.chunks) {
      const int chunk = stage.next_forward;
      if (arrived(Op::kForward, p, chunk, now) && in_window(p, chunk) && is_safe(p, chunk) &&
          forward_fits(p, chunk)) {
        return start_forward(p, chunk, now);
      }
    }
    if (stage.has_pending()) start_weight(p, now);
  }

  // Whether the forward fits beside what is held now, with what it needs while it runs. Where
  // nothing is pending and it needs nothing for itself, is_safe() has already answered this.
  bool forward_fits(int p, int chunk) const {
    const StageState& stage = stages_[static_cast<std::size_t>(p)];
    const MemoryStep step = memory(Op::kForward, p, chunk);
    if (!stage.has_pending() && step.holds <= 0.0) return true;
    return stage.held_total + stage.pending_bytes + step.opens.total() + step.holds <= budget(p);
  }

  // Whether the backward fits beside what is held now. is_safe() has made sure of it for what
  // groups hold, so that only pending weight gradients can be in its way.
  bool backward_fits(int p, int chunk) const {
    const StageState& stage = stages_[static_cast<std::size_t>(p)];
    const MemoryStep step = memory(Op::kBackward, p, chunk);
    const Bytes more = step.opens_grads + step.holds;
    return !stage.has_pending() || stage.held_total + stage.pending_bytes + more <= budget(p);
  }

  // Whether the chunk is within ListOptions::slack of the group whose backward is next.
  bool in_window(int p, int chunk) const {
    if (options_.slack < 0) return true;
    const StageState& stage = stages_[static_cast<std::size_t>(p)];
    const int oldest = group_of(table_.backward[static_cast<std::size_t>(stage.next_backward)]);
    const int ahead = chunk - group(oldest).end;
    if (ahead < 0) return true;
    return ahead < group(oldest + 1).slices() + (table_.stages - 1 - p) + options_.slack;
  }

  // The banker's condition: with this chunk's forward done, can every group in flight still be
  // finished, one after the other in backward order?
  //
  // While group g runs to its end, the groups before it are done and hold nothing, and the groups
  // behind it hold what they hold now. So g can be finished where its own peak fits beside the
  // groups behind it. The loop goes from the newest group to the oldest and adds up what is behind.
  // Of the oldest group some backwards may be done; the peak from the next one on counts.
  bool is_safe(int p, int chunk) const {
    const StageState& stage = stages_[static_cast<std::size_t>(p)];
    const int newest = group_of(chunk);
    const int next = table_.backward[static_cast<std::size_t>(stage.next_backward)];
    const int oldest = group_of(next);
    Bytes later = 0.0;  // held by the groups behind g
    for (int g = newest; g >= oldest; --g) {
      const auto index = static_cast<std::size_t>(g);
      const int last = g == oldest ? next : group(g).end - 1;
      if (later + stage.peaks[static_cast<std::size_t>(last)] > budget(p)) return false;
      later += stage.held[index] + (g == newest ? activation(p, chunk) : 0.0);
    }
    return true;
  }

  // The operation is known when this is compiled: it runs millions of times.
  template <Op op>
  void run(int p, int chunk, Seconds now) {
    const std::size_t entry = table_.index(p, chunk);
    const PipelineClock::Run ran =
        clock_.run(op, static_cast<std::size_t>(p), static_cast<std::size_t>(chunk),
                   table_.entries[entry].seconds(op, recompute_[entry]), now);
    result_.steps[static_cast<std::size_t>(p)].push_back({op, chunk});
    result_.seconds = std::max(result_.seconds, ran.end);
    events_.push({ran.end, p});
    if (ran.message) events_.push({ran.message->arrival, static_cast<int>(ran.message->to)});
  }

  void start_forward(int p, int chunk, Seconds now) {
    StageState& stage = stages_[static_cast<std::size_t>(p)];
    const Bytes kept = activation(p, chunk);
    stage.held[static_cast<std::size_t>(group_of(chunk))] += kept;
    stage.held_total += kept;
    ++stage.next_forward;
    run<Op::kForward>(p, chunk, now);
  }

  void start_backward(int p, int chunk, Seconds now) {
    StageState& stage = stages_[static_cast<std::size_t>(p)];
    const auto g = static_cast<std::size_t>(group_of(chunk));
    const bool split = stage.next_backward >= table_.chunks - options_.split_last;
    // held[] is set to what is there when this step has ended. The activations of a split backward
    // stay until its W, and are counted in pending_bytes.
    const MemoryStep step = memory(Op::kBackward, p, chunk);
    stage.held[g] += step.change();
    stage.held_total += step.change();
    if (split) {
      stage.pending.push_back(chunk);
      stage.pending_bytes += step.closes.total();
    }
    ++stage.next_backward;
    if (chunk == group(group_of(chunk)).begin) {
      // The group is done and holds nothing. What rounding has left is taken off.
      stage.held_total -= stage.held[g];
      stage.held[g] = 0.0;
    }
    if (split) {
      run<Op::kInputGrad>(p, chunk, now);
    } else {
      run<Op::kBackward>(p, chunk, now);
    }
  }

  void start_weight(int p, Seconds now) {
    StageState& stage = stages_[static_cast<std::size_t>(p)];
    const int chunk = stage.pending[stage.pending_begin++];
    const Bytes freed = memory(Op::kWeightGrad, p, chunk).closes.total();
    stage.pending_bytes = stage.has_pending() ? stage.pending_bytes - freed : 0.0;
    run<Op::kWeightGrad>(p, chunk, now);
  }

  const ChunkTable& table_;
  const RecomputeMatrix& recompute_;
  const ListOptions& options_;
  PipelineClock clock_;
  std::vector<StageState> stages_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  ListSchedule result_;
};

}  // namespace

std::optional<ListSchedule> list_schedule(const ChunkTable& table, const RecomputeMatrix& recompute,
                                          const ListOptions& options) {
  Scheduler scheduler(table, recompute, options);
  if (!scheduler.prepare()) return std::nullopt;
  return scheduler.run_all();
}

}  // namespace infinipipe
