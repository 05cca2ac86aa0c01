#include "planner/schedules/grouping.h"

#include <gtest/gtest.h>

#include <limits>

#include "unit/planner/tables.h"

namespace infinipipe {
namespace {

double cost_of(const ChunkTable& table, const PipelineStarts& starts) {
  double cost = 0.0;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const int last = i + 1 < starts.size() ? starts[i + 1] : static_cast<int>(table.groups.size());
    cost += pipeline_seconds(table) + segment_recompute_seconds(table, starts[i], last);
  }
  return cost;
}

// Over every way to begin pipelines where the slice count changes.
double brute_force(const ChunkTable& table) {
  std::vector<int> borders;
  for (int g = 1; g < static_cast<int>(table.groups.size()); ++g) {
    if (table.groups[static_cast<std::size_t>(g)].slices() !=
        table.groups[static_cast<std::size_t>(g - 1)].slices()) {
      borders.push_back(g);
    }
  }
  double best = std::numeric_limits<double>::infinity();
  for (unsigned set = 0; set < (1u << borders.size()); ++set) {
    PipelineStarts starts = {0};
    for (std::size_t i = 0; i < borders.size(); ++i) {
      if (set & (1u << i)) starts.push_back(borders[i]);
    }
    best = std::min(best, cost_of(table, starts));
  }
  return best;
}

TEST(SegmentRecompute, NothingWhereTheWindowFits) {
  ChunkTable table = test::even_table(2, {1, 1, 1});
  table.budget = {16.0, 8.0};
  EXPECT_EQ(segment_recompute_seconds(table, 0, 3), 0.0);
}

TEST(SegmentRecompute, TheEstimateByHand) {
  // Stage 0 has 2 chunks of 8 bytes in flight and room for 14: 2 bytes and 1 of workspace are made
  // up by one layer (2 x 1.5) of each of 3 chunks, 0.25 s each.
  ChunkTable table = test::even_table(2, {1, 1, 1});
  table.budget = {14.0, 8.0};
  EXPECT_DOUBLE_EQ(segment_recompute_seconds(table, 0, 3), 0.75);
}

TEST(SegmentRecompute, InfiniteWhereLayersDoNotSuffice) {
  ChunkTable table = test::even_table(2, {1, 1, 1});
  table.budget = {4.0, 8.0};
  EXPECT_EQ(segment_recompute_seconds(table, 0, 3), std::numeric_limits<double>::infinity());
}

TEST(GroupPipelines, OnePipelineWhereMemoryIsLoose) {
  const ChunkTable table = test::even_table(4, {5, 3, 1, 1, 1, 1});
  EXPECT_EQ(group_pipelines(table), PipelineStarts{0});
}

TEST(GroupPipelines, LongSequencesGetTheirOwnWhereMemoryIsTight) {
  // Five slices in flight are dear for 60 short chunks.
  std::vector<int> slices(61, 1);
  slices[0] = 5;
  ChunkTable table = test::even_table(2, slices);
  table.budget = {33.0, 33.0};
  EXPECT_EQ(group_pipelines(table), (PipelineStarts{0, 1}));
}

TEST(GroupPipelines, EqualsBruteForce) {
  Random random(6);
  int several = 0;
  for (int round = 0; round < 400; ++round) {
    const int distinct = static_cast<int>(random.between(1, 6));
    std::vector<int> slices;
    for (int n = distinct; n >= 1; --n) {
      slices.insert(slices.end(), static_cast<std::size_t>(random.between(0, 6)), n);
    }
    if (slices.empty()) slices = {1};
    ChunkTable table = test::even_table(static_cast<int>(random.between(1, 4)), slices, 8);
    for (ChunkEntry& entry : table.entries) {
      entry.layer *= random.uniform();
      entry.saved = 0.9;
    }
    for (Bytes& budget : table.budget) budget = 8.0 * static_cast<double>(random.between(1, 10));
    const PipelineStarts starts = group_pipelines(table);
    const double best = brute_force(table);
    several += starts.size() > 1;
    if (best < std::numeric_limits<double>::infinity()) {
      EXPECT_NEAR(cost_of(table, starts), best, 1e-9 * (1.0 + best)) << "round " << round;
    }
  }
  EXPECT_GT(several, 40);
}

}  // namespace
}  // namespace infinipipe
