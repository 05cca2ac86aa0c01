#include "planner/schedules/stage_steps.h"

#include <gtest/gtest.h>

#include "unit/planner/tables.h"

namespace infinipipe {
namespace {

using test::none;

TEST(TimeSteps, OneFOneBOfEqualChunks) {
  // The textbook: (chunks + stages - 1) x (forward + backward).
  const ChunkTable table = test::even_table(4, {1, 1, 1, 1, 1, 1});
  const auto steps = one_f_one_b_steps(table, {0});
  const Timing timing = time_steps(steps, table, none(table));
  EXPECT_DOUBLE_EQ(timing.seconds, (6 + 3) * 3.0);
  EXPECT_DOUBLE_EQ(timing.end[3][0], 4.0);
  EXPECT_DOUBLE_EQ(timing.end[0].back(), 27.0);
}

TEST(TimeSteps, RecomputationRunsInsideTheBackward) {
  const ChunkTable table = test::even_table(1, {1});
  EXPECT_DOUBLE_EQ(time_steps(one_f_one_b_steps(table, {0}), table, {4}).seconds, 1.0 + 2.0 + 1.0);
}

TEST(TimeSteps, LinksCarryOneMessageAtATime) {
  ChunkTable table = test::even_table(2, {1, 1, 1});
  table.transfer = {5.0, 5.0, 5.0};
  const StepLists steps = {{{Op::kForward, 0}, {Op::kForward, 1}, {Op::kForward, 2}},
                           {{Op::kForward, 0}, {Op::kForward, 1}, {Op::kForward, 2}}};
  const Timing timing = time_steps(steps, table, none(table));
  EXPECT_DOUBLE_EQ(timing.end[1][0], 1.0 + 5.0 + 1.0);
  EXPECT_DOUBLE_EQ(timing.end[1][2], 1.0 + 15.0 + 1.0);
}

TEST(TimeSteps, WeightGradientsMayWait) {
  const ChunkTable table = test::even_table(2, {1});
  const StepLists steps = {{{Op::kForward, 0}, {Op::kInputGrad, 0}, {Op::kWeightGrad, 0}},
                           {{Op::kForward, 0}, {Op::kInputGrad, 0}, {Op::kWeightGrad, 0}}};
  EXPECT_DOUBLE_EQ(time_steps(steps, table, none(table)).seconds, 2.0 + 1.5 + 1.5 + 0.5);
}

TEST(TimeSteps, RefusesADeadlock) {
  const ChunkTable table = test::even_table(1, {1});
  const StepLists steps = {{{Op::kBackward, 0}, {Op::kForward, 0}}};
  EXPECT_THROW(time_steps(steps, table, none(table)), std::logic_error);
}

TEST(PeakBytes, CountsWhatIsInFlight) {
  const ChunkTable table = test::even_table(4, {1, 1, 1, 1, 1, 1});
  const auto steps = one_f_one_b_steps(table, {0});
  for (int p = 0; p < 4; ++p) {
    EXPECT_DOUBLE_EQ(peak_bytes(steps[static_cast<std::size_t>(p)], p, table, none(table)),
                     8.0 * (4 - p));
  }
}

TEST(PeakBytes, CountsGradientsOfCutSequencesAndOneRecomputedLayer) {
  ChunkTable table = test::even_table(1, {2});
  table.entries[0].grads_free = 3.0;
  table.entries[1].grads_free = 2.0;
  table.entries[1].grads_open = 5.0;
  const auto steps = one_f_one_b_steps(table, {0});
  EXPECT_DOUBLE_EQ(peak_bytes(steps[0], 0, table, {0, 0}), 16.0 + 5.0);
  EXPECT_DOUBLE_EQ(peak_bytes(steps[0], 0, table, {0, 2}), 16.0 - 3.0 + 5.0 + 1.0);
}

TEST(LeastRecompute, NothingWhereEverythingFits) {
  ChunkTable table = test::even_table(2, {1, 1, 1});
  table.budget = {16.0, 8.0};
  EXPECT_EQ(least_recompute(one_f_one_b_steps(table, {0}), table), none(table));
}

TEST(LeastRecompute, TakesTheChunkThatStaysLongest) {
  // Two slices of one sequence: the first goes backward last.
  ChunkTable table = test::even_table(1, {2});
  table.budget = {16.0};
  EXPECT_EQ(least_recompute(one_f_one_b_steps(table, {0}), table), none(table));
  table.budget = {15.0};
  EXPECT_EQ(least_recompute(one_f_one_b_steps(table, {0}), table), (RecomputeMatrix{1, 0}));
}

TEST(LeastRecompute, SaysWhereNothingHelps) {
  ChunkTable table = test::even_table(1, {1});
  table.budget = {2.0 + 0.9};  // full recomputation leaves 2, and a layer at work needs 1
  EXPECT_FALSE(least_recompute(one_f_one_b_steps(table, {0}), table));
  table.budget = {3.0};
  EXPECT_TRUE(least_recompute(one_f_one_b_steps(table, {0}), table));
}

TEST(LeastRecompute, FitsWheneverItIsFound) {
  Random random(5);
  int found = 0;
  for (int round = 0; round < 2000; ++round) {
    const ChunkTable table = test::random_table(random, 4, 6, 5, random.uniform());
    const auto steps = one_f_one_b_steps(table, {0});
    const auto least = least_recompute(steps, table);
    if (!least) continue;
    ++found;
    EXPECT_TRUE(fits(steps, table, *least));
    RecomputeMatrix most(table.entries.size());
    for (int p = 0; p < table.stages; ++p) {
      for (int k = 0; k < table.chunks; ++k) {
        most[table.index(p, k)] = table.layers[static_cast<std::size_t>(p)];
      }
    }
    if (!fits(steps, table, most)) continue;
    const RecomputeMatrix within = least_recompute_within(steps, table, most);
    EXPECT_TRUE(fits(steps, table, within));
    EXPECT_LE(recompute_seconds(table, within), recompute_seconds(table, most) * (1 + 1e-12));
  }
  EXPECT_GT(found, 500);
}

TEST(ForcedRecompute, CountsDisjointWindows) {
  // Two stages, one slice each: stage 0 holds two chunks at a time, 8 bytes each.
  ChunkTable table = test::even_table(2, {1, 1, 1, 1});
  const StepLists steps = one_f_one_b_steps(table, {0});
  table.budget = {16.0, 16.0};
  EXPECT_EQ(forced_recompute(steps[0], 0, table), 0.0);
  table.budget = {13.0, 13.0};
  // Chunks 0 and 1, then 2 and 3, lack 3 bytes: two layers of 1.5 bytes and 0.25 s each time.
  EXPECT_DOUBLE_EQ(forced_recompute(steps[0], 0, table), 1.0);
  EXPECT_EQ(forced_recompute(steps[1], 1, table), 0.0);
}

TEST(ForcedRecompute, NothingThatFitsRecomputesLess) {
  Random random(6);
  int forced = 0;
  for (int round = 0; round < 2000; ++round) {
    const ChunkTable table = test::random_table(random, 4, 6, 5, random.uniform());
    const auto steps = one_f_one_b_steps(table, {0});
    const auto least = least_recompute(steps, table);
    if (!least) continue;
    for (int p = 0; p < table.stages; ++p) {
      Seconds spent = 0.0;
      for (int k = 0; k < table.chunks; ++k) {
        spent += (*least)[table.index(p, k)] * table.at(p, k).layer;
      }
      const Seconds bound = forced_recompute(steps[static_cast<std::size_t>(p)], p, table);
      EXPECT_LE(bound, spent * (1.0 + 1e-12));
      forced += bound > 0.0;
    }
  }
  EXPECT_GT(forced, 300);
}

}  // namespace
}  // namespace infinipipe
