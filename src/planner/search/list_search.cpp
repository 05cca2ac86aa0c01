#include "planner/search/list_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "planner/recompute/uniform_recompute.h"
#include "planner/schedules/grouping.h"

namespace infinipipe {

namespace {

// The recomputation that an order is made for: each chunk recomputes this share of a stage's
// layers.
RecomputeMatrix assumed_recompute(const ChunkTable& table, double share) {
  RecomputeMatrix recompute(table.entries.size(), 0);
  for (int p = 0; p < table.stages; ++p) {
    const int layers =
        static_cast<int>(std::ceil(share * table.layers[static_cast<std::size_t>(p)]));
    for (int k = 0; k < table.chunks; ++k) recompute[table.index(p, k)] = layers;
  }
  return recompute;
}

// The search over settings of the list scheduler for one chunking.
//
// If memory does not limit the schedule, there is nothing to recompute and no reason to hold stages
// back; then only the number of split backwards is varied.
//
// Otherwise an order needs an assumption of how much is recomputed, which decides how far stages
// can run ahead, and the least recomputation of an order is only known when the order is. The
// search starts from assumptions (shares of the layers, or what grouped 1F1B would recompute), and
// for each improves assumption and order in turn. In the end it tries neighbours of the best
// setting.
class ListSearch final {
 public:
  ListSearch(std::shared_ptr<const Cutting> cutting, Effort& effort)
      : cutting_(std::move(cutting)), table_(cutting_->table), effort_(effort) {}

  std::optional<Schedule> run(Thoroughness thoroughness) {
    const bool splittable = table_.passes.has(Pass::kSplitBackward) && table_.at(0, 0).weight > 0.0;
    const int splits = splittable ? 2 * table_.stages : 0;
    if (nothing_binds(splits)) {
      if (thoroughness == Thoroughness::kDeep) {
        for (const int split : split_counts()) {
          try_setting(0.0, {.slack = -1, .split_last = split});
        }
      }
      return take();
    }
    if (thoroughness == Thoroughness::kQuick) {
      try_setting(0.5, {.slack = 1, .split_last = splits});
      try_setting(1.0, {.slack = 2, .split_last = splits});
      if (!best_) try_setting(1.0, {.slack = 0, .split_last = 0});
      return take();
    }
    for (const double share : {0.5, 1.0, 0.75, 0.25}) {
      for (const int slack : {1, 4, -1}) try_setting(share, {slack, splits});
    }
    try_grouped(splits);
    refine(splits);
    return take();
  }

 private:
  // Tries the schedule without recomputation and without a limit on running ahead. True where
  // memory did not make it slower: it is as fast as on a machine with unlimited memory.
  bool nothing_binds(int splits) {
    const ListOptions options{.slack = -1, .split_last = splits};
    const RecomputeMatrix none(table_.entries.size(), 0);
    effort_.spend(table_);
    auto schedule = list_schedule(table_, none, options);
    if (!schedule) return false;
    const Seconds seconds = schedule->seconds;
    offer(std::move(schedule->steps), none);
    if (!std::isfinite(table_.budget.front())) return true;
    ChunkTable free = table_;
    std::fill(free.budget.begin(), free.budget.end(), std::numeric_limits<double>::infinity());
    effort_.spend(table_);
    return seconds <= list_schedule(free, none, options)->seconds * (1.0 + 1e-9);
  }

  void try_setting(double share, const ListOptions& options) {
    improve(assumed_recompute(table_, share), share, options);
  }

  // Assumes what 1F1B in grouped pipelines would recompute. That differs from chunk to chunk where
  // sequences are of very different lengths.
  void try_grouped(int splits) {
    const StepLists steps = one_f_one_b_steps(
        table_, table_.passes.has(Pass::kGrouping) ? group_pipelines(table_) : PipelineStarts{0});
    effort_.spend(table_);
    const auto least = least_allowed_recompute(steps, table_);
    if (!least) return;
    for (const int slack : {1, 4, -1}) {
      improve(*least, 0.5, {.slack = slack, .split_last = splits});
    }
  }

  // Makes an order for the assumed recomputation, finds the least recomputation for that order, and
  // makes the next order for that. Both are offered in each round: the order with its least
  // recomputation, and (from the second round on, where it is known to fit) with the assumed one.
  void improve(RecomputeMatrix assumed, double share, const ListOptions& options) {
    for (int round = 0; round < 3 && effort_.left(); ++round) {
      effort_.spend(table_);
      auto schedule = list_schedule(table_, assumed, options);
      if (!schedule) return;
      auto least = least_allowed_recompute(schedule->steps, table_);
      if (!least) {
        if (table_.passes.has(Pass::kAdaptiveRecompute)) {
          offer(std::move(schedule->steps), assumed, share, options);
        }
        return;
      }
      offer(schedule->steps, *least, share, options);
      if (round > 0) offer(std::move(schedule->steps), assumed, share, options);
      if (*least == assumed) return;
      assumed = std::move(*least);
    }
  }

  std::vector<int> split_counts() const {
    if (!table_.passes.has(Pass::kSplitBackward)) return {0};
    return {0, table_.stages, 4 * table_.stages};
  }

  // Tries neighbours of the best setting: other slacks, a larger and a smaller share, other numbers
  // of split backwards.
  void refine(int splits) {
    const double share = best_share_;
    const int slack = best_options_.slack;
    for (const int next : {0, 2, 6, 10}) {
      if (next != slack) try_setting(share, {.slack = next, .split_last = splits});
    }
    const ListOptions best = best_options_;
    for (const double next : {share - 0.125, share + 0.125}) {
      if (next > 0.0 && next <= 1.0) try_setting(next, best);
    }
    for (const int split : split_counts()) {
      if (split != best.split_last) try_setting(best_share_, {best_options_.slack, split});
    }
  }

  // Takes the order if it is the fastest so far. Its time is that of a replay, in which each step
  // starts as soon as it can; the list may have held some back for memory that is free after all.
  void offer(StepLists steps, const RecomputeMatrix& recompute, double share = 0.0,
             const ListOptions& options = {}) {
    effort_.spend(table_);
    const Seconds seconds = time_steps(steps, table_, recompute).seconds;
    if (best_ && seconds >= best_seconds_) return;
    best_seconds_ = seconds;
    best_share_ = share;
    best_options_ = options;
    best_ = Schedule{.slices = cutting_->slices,
                     .chunking = cutting_->chunking,
                     .level = table_.level,
                     .name = schedule_name::kList,
                     .steps = std::move(steps),
                     .recompute = recompute,
                     .seconds = seconds};
  }

  std::optional<Schedule> take() { return std::move(best_); }

  std::shared_ptr<const Cutting> cutting_;
  const ChunkTable& table_;
  Effort& effort_;
  std::optional<Schedule> best_;
  Seconds best_seconds_ = std::numeric_limits<double>::infinity();
  double best_share_ = 0.5;
  ListOptions best_options_;
};

}  // namespace

std::optional<Schedule> search_list_schedule(std::shared_ptr<const Cutting> cutting,
                                             Thoroughness thoroughness, Effort& effort) {
  return ListSearch(std::move(cutting), effort).run(thoroughness);
}

}  // namespace infinipipe
