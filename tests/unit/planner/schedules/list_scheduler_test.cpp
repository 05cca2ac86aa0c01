#include "planner/schedules/list_scheduler.h"

#include <gtest/gtest.h>

#include "infinipipe/core/validate.h"
#include "unit/planner/tables.h"

namespace infinipipe {
namespace {

using test::none;

TEST(ListSchedule, KeepsTheOnlyStageBusy) {
  const ChunkTable table = test::even_table(1, {2, 1, 1});
  const auto schedule = list_schedule(table, none(table), {});
  ASSERT_TRUE(schedule);
  EXPECT_DOUBLE_EQ(schedule->seconds, 4 * 3.0);
}

TEST(ListSchedule, NoSlowerThanOneFOneBOnEqualChunks) {
  const ChunkTable table = test::even_table(4, {1, 1, 1, 1, 1, 1, 1, 1});
  const auto schedule = list_schedule(table, none(table), {});
  const Seconds barrier = time_steps(one_f_one_b_steps(table, {0}), table, none(table)).seconds;
  EXPECT_LE(schedule->seconds, barrier);
}

TEST(ListSchedule, WeightGradientsFillTheDrain) {
  const ChunkTable table = test::even_table(4, {1, 1, 1, 1, 1, 1, 1, 1});
  const auto whole = list_schedule(table, none(table), {.slack = -1, .split_last = 0});
  const auto split = list_schedule(table, none(table), {.slack = -1, .split_last = 8});
  EXPECT_LT(split->seconds, whole->seconds);
}

TEST(ListSchedule, SlackBoundsHowFarAStageRunsAhead) {
  const ChunkTable table = test::even_table(3, std::vector<int>(12, 1));
  for (const int slack : {0, 2}) {
    const auto schedule = list_schedule(table, none(table), {.slack = slack, .split_last = 0});
    for (int p = 0; p < 3; ++p) {
      int ahead = 0;
      int most = 0;
      for (const Step& step : schedule->steps[static_cast<std::size_t>(p)]) {
        ahead += step.op == Op::kForward ? 1 : -1;
        most = std::max(most, ahead);
      }
      EXPECT_LE(most, 1 + 1 + (2 - p) + slack);
    }
  }
}

TEST(ListSchedule, RefusesAGroupThatDoesNotFitAlone) {
  ChunkTable table = test::even_table(2, {3, 1});
  table.budget = {100.0, 23.9};  // three slices in flight need 24
  EXPECT_FALSE(list_schedule(table, none(table), {}));
  table.budget = {100.0, 24.0};
  EXPECT_TRUE(list_schedule(table, none(table), {}));
}

// The heart of it: whatever the memory, the order is valid, fits, and takes the time it says or
// less when replayed.
TEST(ListSchedule, RandomOrdersAreValidAndFit) {
  Random random(9);
  int scheduled = 0;
  for (int round = 0; round < 3000; ++round) {
    const double tightness = random.uniform() < 0.3 ? 1.0 : random.uniform();
    const ChunkTable table = test::random_table(random, 5, 7, 4, tightness);
    RecomputeMatrix recompute(table.entries.size());
    const double share = random.uniform();
    for (int p = 0; p < table.stages; ++p) {
      for (int k = 0; k < table.chunks; ++k) {
        const int layers = table.layers[static_cast<std::size_t>(p)];
        recompute[table.index(p, k)] =
            random.uniform() < share ? layers : static_cast<int>(random.between(0, layers));
      }
    }
    if (tightness == 1.0) {
      for (std::size_t i = 0; i < recompute.size(); ++i) {
        recompute[i] = table.layers[i / static_cast<std::size_t>(table.chunks)];
      }
    }
    const ListOptions options{.slack = static_cast<int>(random.between(-1, 4)),
                              .split_last = static_cast<int>(random.between(0, table.chunks + 2))};
    const auto schedule = list_schedule(table, recompute, options);
    if (!schedule) {
      EXPECT_LT(tightness, 1.0) << "full recomputation fits by construction";
      continue;
    }
    ++scheduled;
    EXPECT_TRUE(fits(schedule->steps, table, recompute)) << "round " << round;
    const auto problem = validate(test::plan_of(table, {0}, schedule->steps, recompute));
    ASSERT_FALSE(problem) << problem->message;
    EXPECT_LE(time_steps(schedule->steps, table, recompute).seconds,
              schedule->seconds * (1 + 1e-12));
    const auto again = list_schedule(table, recompute, options);
    EXPECT_EQ(again->steps, schedule->steps);
  }
  EXPECT_GT(scheduled, 1500);
}

}  // namespace
}  // namespace infinipipe
