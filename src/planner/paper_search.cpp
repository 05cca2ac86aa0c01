#include "planner/paper_search.h"

#include <algorithm>
#include <limits>

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

std::optional<Schedule> solve(Option& option, const Site& site) {
  if (!site.features().adaptive_recompute) {
    auto recompute = least_uniform_recompute(option.steps, option.cutting->table);
    if (!recompute) return std::nullopt;
    return Schedule{.cutting = option.cutting,
                    .kind = ScheduleKind::kOneFOneB,
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
                    .kind = ScheduleKind::kSolvedOneFOneB,
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
  std::vector<Option> options;
  for (const int slices : slice_counts(site)) {
    for (const MemoryWay& way : ways) {
      if (way.last_resort) continue;
      auto cutting = std::make_shared<Cutting>();
      cutting->slices = slices;
      cutting->chunking = cut_sequences(lengths, seconds,
                                        {.slices = slices,
                                         .capacity = way.capacity,
                                         .slice_capacity = way.slice_capacity,
                                         .whole_above = way.whole_above},
                                        site.features());
      const bool known = std::any_of(options.begin(), options.end(), [&](const Option& o) {
        return o.cutting->chunking.chunks == cutting->chunking.chunks;
      });
      if (known) continue;
      cutting->table = site.table(cutting->chunking, lengths);
      look(cutting->table);
      options.push_back(make_option(std::move(cutting)));
    }
  }
  std::stable_sort(options.begin(), options.end(), [](const Option& a, const Option& b) {
    return a.estimate != b.estimate ? a.estimate < b.estimate : a.least < b.least;
  });
  if (options.size() > kSolved) options.resize(kSolved);
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
