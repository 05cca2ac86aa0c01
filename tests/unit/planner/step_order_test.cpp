#include "planner/step_order.h"

#include <gtest/gtest.h>

#include "planner/order_floor.h"
#include "tables.h"

namespace infinipipe {
namespace {

RecomputeMatrix none(const ChunkTable& table) { return RecomputeMatrix(table.entries.size(), 0); }

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
  table.room = {16.0, 8.0};
  EXPECT_EQ(least_recompute(one_f_one_b_steps(table, {0}), table), none(table));
}

TEST(LeastRecompute, TakesTheChunkThatStaysLongest) {
  // Two slices of one sequence: the first goes backward last.
  ChunkTable table = test::even_table(1, {2});
  table.room = {16.0};
  EXPECT_EQ(least_recompute(one_f_one_b_steps(table, {0}), table), none(table));
  table.room = {15.0};
  EXPECT_EQ(least_recompute(one_f_one_b_steps(table, {0}), table), (RecomputeMatrix{1, 0}));
}

TEST(LeastRecompute, SaysWhereNothingHelps) {
  ChunkTable table = test::even_table(1, {1});
  table.room = {2.0 + 0.9};  // full recomputation leaves 2, and a layer at work needs 1
  EXPECT_FALSE(least_recompute(one_f_one_b_steps(table, {0}), table));
  table.room = {3.0};
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

TEST(OrderFloor, ByHand) {
  // One stage, two slices of 8 bytes in room for 13: 3 bytes are two layers' at 0.25 s a 1.5 bytes.
  ChunkTable table = test::even_table(1, {2});
  table.room = {13.0};
  EXPECT_DOUBLE_EQ(order_floor(one_f_one_b_steps(table, {0}), table), 6.0 + 0.5);
}

TEST(OrderFloor, IsWhatNothingRecomputedTakesWhereEverythingFits) {
  const ChunkTable table = test::even_table(3, {2, 1, 1});
  const auto steps = one_f_one_b_steps(table, {0});
  EXPECT_EQ(order_floor(steps, table), time_steps(steps, table, none(table)).seconds);
}

// Random recomputation that fits is never faster, however little it is.
TEST(OrderFloor, NothingThatFitsIsFaster) {
  Random random(14);
  int judged = 0;
  int raised = 0;
  for (int round = 0; round < 3000; ++round) {
    const ChunkTable table = test::random_table(random, 4, 6, 4, random.uniform());
    const auto steps = one_f_one_b_steps(table, {0});
    const Seconds floor = order_floor(steps, table);
    raised += floor > time_steps(steps, table, none(table)).seconds;
    const auto least = least_recompute(steps, table);
    if (!least) continue;
    ++judged;
    RecomputeMatrix matrix = *least;
    EXPECT_LE(floor, time_steps(steps, table, matrix).seconds * (1 + 1e-12));
    for (int change = 0; change < 20; ++change) {
      const auto i =
          static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(matrix.size()) - 1));
      const int before = matrix[i];
      matrix[i] = static_cast<int>(
          random.between(0, table.layers[i / static_cast<std::size_t>(table.chunks)]));
      if (!fits(steps, table, matrix)) {
        matrix[i] = before;
        continue;
      }
      EXPECT_LE(floor, time_steps(steps, table, matrix).seconds * (1 + 1e-12));
    }
  }
  EXPECT_GT(judged, 1000);
  EXPECT_GT(raised, 500);
}

}  // namespace
}  // namespace infinipipe
