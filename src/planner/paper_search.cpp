#include "planner/paper_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "planner/ablation.h"
#include "planner/checkpoint_ilp.h"
#include "planner/grouping.h"

namespace infinipipe {

namespace {

// For how many of the chunkings the programme is solved.
constexpr std::size_t kSolved = 3;
// What the programme may gain on the greedy recomputation: where that is slower by more, it is not
// solved. Over random batches of all kinds the most gained was 1.8%.
constexpr double kMostGain = 0.03;
// A chunking of more chunks is looked at only where no other was found to fit. Many sequences of
// one length are all cut in as many slices, which no batch of so many sequences gains from, and
// whose tables would take most of the memory.
constexpr std::size_t kMostChunks = std::size_t{1} << 16;

struct Option {
  std::shared_ptr<const Cutting> cutting;
  PipelineStarts starts = {0};
  StepLists steps;
  Seconds least = 0.0;     // no recomputation that fits is faster
  Seconds estimate = 0.0;  // with greedy recomputation; infinite where the sweep finds none
};

std::vector<int> slice_counts(const Site& site) {
  if (site.config().slices) return {*site.config().slices};
  return {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64};
}

Option make_option(std::shared_ptr<const Cutting> cutting) {
  Option option;
  option.cutting = std::move(cutting);
  const ChunkTable& table = option.cutting->table;
  if (table.features.grouping) option.starts = group_pipelines(table);
  option.steps = one_f_one_b_steps(table, option.starts);
  option.least = least_seconds(option.steps, table);
  const auto greedy = table.features.adaptive_recompute
                          ? least_recompute(option.steps, table)
                          : least_uniform_recompute(option.steps, table);
  option.estimate = greedy ? time_steps(option.steps, table, *greedy).seconds
                           : std::numeric_limits<double>::infinity();
  return option;
}

// The best few options so far, best first; of equal ones those that came first.
class BestOptions final {
 public:
  // An option that was dropped before is dropped again: as many others are no worse.
  bool holds(const Chunking& chunking) const {
    return std::any_of(options_.begin(), options_.end(), [&](const Option& o) {
      return o.cutting->chunking.chunks == chunking.chunks;
    });
  }
  bool one_fits() const { return !options_.empty() && std::isfinite(options_.front().estimate); }

  void offer(Option option) {
    const auto better = [](const Option& a, const Option& b) {
      return a.estimate != b.estimate ? a.estimate < b.estimate : a.least < b.least;
    };
    const auto place = std::upper_bound(options_.begin(), options_.end(), option, better);
    options_.insert(place, std::move(option));
    if (options_.size() > kSolved) options_.pop_back();
  }

  std::vector<Option> take() { return std::move(options_); }

 private:
  std::vector<Option> options_;
};

std::optional<Schedule> solve(Option& option, const Site& site) {
  if (!site.features().adaptive_recompute) {
    auto recompute = least_uniform_recompute(option.steps, option.cutting->table);
    if (!recompute) return std::nullopt;
    return Schedule{.cutting = option.cutting,
                    .name = "1f1b",
                    .starts = option.starts,
                    .steps = std::move(option.steps),
                    .recompute = std::move(*recompute),
                    .seconds = option.estimate};
  }
  const PlannerConfig& config = site.config();
  auto solution = solve_checkpointing(
      option.steps, option.cutting->table, option.starts,
      {.gap = config.solver_gap, .nodes = config.solver_nodes, .seconds = config.solver_seconds});
  if (!solution) return std::nullopt;
  Schedule schedule{.cutting = option.cutting,
                    .name = "1f1b-ilp",
                    .starts = option.starts,
                    .steps = std::move(option.steps),
                    .recompute = std::move(solution->recompute)};
  schedule.seconds =
      time_steps(schedule.steps, schedule.cutting->table, schedule.recompute).seconds;
  schedule.solver = solution->solver;
  return schedule;
}

}  // namespace

std::vector<Schedule> search_paper_schedules(const std::vector<Tokens>& lengths, const Site& site,
                                             const std::vector<MemoryWay>& ways, Seconds beat,
                                             const std::function<void(const ChunkTable&)>& look) {
  const ChunkSeconds seconds = chunk_seconds(site.cost());
  BestOptions best;
  std::vector<bool> has_enough(ways.size());  // chunks: more slices would make even more
  for (const int slices : slice_counts(site)) {
    for (std::size_t w = 0; w < ways.size(); ++w) {
      const MemoryWay& way = ways[w];
      if (way.last_resort || has_enough[w]) continue;
      auto cutting = std::make_shared<Cutting>();
      cutting->slices = slices;
      cutting->chunking = cut_sequences(lengths, seconds,
                                        {.slices = slices,
                                         .capacity = way.capacity,
                                         .slice_capacity = way.slice_capacity,
                                         .whole_above = way.whole_above},
                                        site.features());
      if (best.holds(cutting->chunking)) continue;
      has_enough[w] = cutting->chunking.chunks.size() > kMostChunks && best.one_fits();
      if (has_enough[w]) continue;
      cutting->table = site.table(cutting->chunking, lengths);
      look(cutting->table);
      best.offer(make_option(std::move(cutting)));
    }
  }
  std::vector<Option> options = best.take();
  std::vector<Schedule> schedules;
  for (Option& option : options) {
    if (option.least >= beat || option.estimate * (1.0 - kMostGain) >= beat) continue;
    auto schedule = solve(option, site);
    if (!schedule || schedule->seconds >= beat) continue;
    beat = schedule->seconds;
    schedules.push_back(std::move(*schedule));
  }
  std::stable_sort(schedules.begin(), schedules.end(),
                   [](const Schedule& a, const Schedule& b) { return a.seconds < b.seconds; });
  return schedules;
}

}  // namespace infinipipe
