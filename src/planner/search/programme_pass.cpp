#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "planner/chunking/ordinary_cutting.h"
#include "planner/recompute/checkpoint_ilp.h"
#include "planner/recompute/uniform_recompute.h"
#include "planner/schedules/grouping.h"
#include "planner/search/draft.h"

namespace infinipipe {

namespace {

// The programme is solved for at most so many chunkings.
constexpr std::size_t kSolved = 3;
// The most that the programme is expected to gain over the greedy recomputation. It is not solved
// for a chunking whose greedy schedule is slower than the best known one by more than this. Over
// random batches of all kinds the largest gain was 1.8%.
constexpr double kMostGain = 0.03;

// A chunking with its 1F1B order, before its recomputation is solved.
struct Option {
  std::shared_ptr<const Cutting> cutting;
  PipelineStarts starts = {0};
  StepLists steps;
  Seconds least = 0.0;                    // least_seconds(): no recomputation that fits is faster
  std::optional<RecomputeMatrix> greedy;  // empty where the sweep finds none
  Seconds estimate = 0.0;                 // with it; infinite without
};

std::vector<int> slice_counts(const BoundContext& context) {
  if (context.config().slices) return {*context.config().slices};
  return {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64};
}

Option make_option(std::shared_ptr<const Cutting> cutting) {
  Option option;
  option.cutting = std::move(cutting);
  const ChunkTable& table = option.cutting->table;
  if (table.passes.has(Pass::kGrouping)) option.starts = group_pipelines(table);
  option.steps = one_f_one_b_steps(table, option.starts);
  option.least = least_seconds(option.steps, table);
  option.greedy = least_allowed_recompute(option.steps, table);
  option.estimate = option.greedy ? time_steps(option.steps, table, *option.greedy).seconds
                                  : std::numeric_limits<double>::infinity();
  return option;
}

// The best few options so far, best first; of equal ones those that came first.
class BestOptions final {
 public:
  // Whether an option of these chunks is among the best. One that was dropped is not found here; it
  // may be offered a second time and is dropped again, because the better ones are still there.
  bool holds(const Chunking& chunking) const {
    return std::any_of(options_.begin(), options_.end(), [&](const Option& o) {
      return o.cutting->chunking->chunks == chunking.chunks;
    });
  }
  bool one_fits() const { return !options_.empty() && std::isfinite(options_.front().estimate); }

  void offer(Option option) {
    const auto better = [](const Option& a, const Option& b) {
      return a.estimate != b.estimate ? a.estimate < b.estimate : a.least < b.least;
    };
    const auto at = std::upper_bound(options_.begin(), options_.end(), option, better);
    options_.insert(at, std::move(option));
    if (options_.size() > kSolved) options_.pop_back();
  }

  std::vector<Option> take() { return std::move(options_); }

 private:
  std::vector<Option> options_;
};

std::optional<Schedule> solve(Option& option, const BoundContext& context) {
  if (!context.has(Pass::kAdaptiveRecompute)) {
    if (!option.greedy) return std::nullopt;
    return Schedule{.slices = option.cutting->slices,
                    .chunking = option.cutting->chunking,
                    .level = option.cutting->table.level,
                    .name = schedule_name::kOneFOneB,
                    .starts = option.starts,
                    .steps = std::move(option.steps),
                    .recompute = std::move(*option.greedy),
                    .seconds = option.estimate};
  }
  const PlannerConfig& config = context.config();
  auto solution = solve_checkpointing(
      option.steps, option.cutting->table, option.starts,
      {.gap = config.solver_gap, .nodes = config.solver_nodes, .seconds = config.solver_seconds});
  if (!solution) return std::nullopt;
  Schedule schedule{.slices = option.cutting->slices,
                    .chunking = option.cutting->chunking,
                    .level = option.cutting->table.level,
                    .name = schedule_name::kSolvedOneFOneB,
                    .starts = option.starts,
                    .steps = std::move(option.steps),
                    .recompute = std::move(solution->recompute)};
  schedule.seconds = time_steps(schedule.steps, option.cutting->table, schedule.recompute).seconds;
  schedule.solver = solution->solver;
  return schedule;
}

// The chunkings for which the programme is worth solving.
std::vector<Option> best_options(Draft& draft) {
  const std::vector<ChunkBounds>& bounds = draft.bounds();
  BestOptions best;
  std::vector<bool> has_enough(bounds.size());  // chunks: more slices would make even more
  for (const int slices : slice_counts(draft.context())) {
    for (std::size_t i = 0; i < bounds.size(); ++i) {
      if (bounds[i].last_resort || has_enough[i]) continue;
      Chunking chunking = cut_sequences(draft.lengths(), draft.seconds(),
                                        {.slices = slices,
                                         .capacity = bounds[i].capacity,
                                         .slice_capacity = bounds[i].slice_capacity,
                                         .whole_above = bounds[i].whole_above},
                                        draft.context().config().passes);
      if (best.holds(chunking)) continue;
      has_enough[i] = chunking.chunks.size() > kMostChunks && best.one_fits();
      if (has_enough[i]) continue;
      best.offer(make_option(draft.cost_of(slices, std::move(chunking))));
    }
  }
  return best.take();
}

}  // namespace

void search_programme(Draft& draft) {
  for (Option& option : best_options(draft)) {
    const Seconds beat = draft.best_seconds();
    if (option.least >= beat || option.estimate * (1.0 - kMostGain) >= beat) continue;
    auto schedule = solve(option, draft.context());
    if (schedule && schedule->seconds < beat) draft.add(std::move(*schedule));
  }
}

}  // namespace infinipipe
