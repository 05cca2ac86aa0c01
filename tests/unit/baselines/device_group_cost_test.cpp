#include "baselines/device_group_cost.h"

#include <gtest/gtest.h>

#include "support/clusters.h"
#include "support/keeping.h"

namespace infinipipe {
namespace {

GroupLoad load_of(const std::vector<Tokens>& lengths) {
  GroupLoad load;
  for (const Tokens length : lengths) load.add(length);
  return load;
}

TEST(GroupLoad, RemovingUndoesAdding) {
  GroupLoad load = load_of({3, 50});
  load.add(7);
  load.remove(7);
  EXPECT_EQ(load.tokens, 53);
  EXPECT_EQ(load.sequences, 2);
  EXPECT_EQ(load.token2, 9.0 + 2500.0);
}

TEST(DeviceGroupCost, IsTheCostModelsOneStageOfAllLayers) {
  Random random(41);
  for (int round = 0; round < 100; ++round) {
    const SystemContext context = testing::toy_cluster(8);
    const int degree = 1 << random.between(0, 3);
    const int recompute = static_cast<int>(random.between(0, 8));
    const DeviceGroupCost cost(context, degree, recompute);
    const CostModel model(context.profile, {1, degree, 8 / degree}, {{0, 8}});
    const auto lengths = testing::skewed_lengths(random, 6, 2000);
    const GroupLoad load = load_of(lengths);
    ChunkShape shape;
    shape.token2 = load.token2;
    shape.tokens = load.tokens;
    shape.slices = load.sequences;
    const StageId stage;
    const Seconds expected = model.forward(stage, shape) + model.backward(stage, shape) +
                             model.recompute(stage, shape, testing::inputs(recompute));
    EXPECT_NEAR(cost.busy(load), expected, 1e-12 * expected + 1e-15);
    EXPECT_EQ(cost.seconds(load), cost.busy(load));  // no gathers in this profile
    // The group's time is its constant and its sequences.
    Seconds sum = cost.constant();
    for (const Tokens length : lengths) sum += cost.sequence(length);
    EXPECT_NEAR(sum, expected, 1e-9 * expected);
    const Bytes held = model.activation_bytes(stage, shape, testing::inputs(recompute)) +
                       (recompute > 0 ? model.recompute_workspace_bytes(stage, shape) : 0.0);
    EXPECT_NEAR(cost.peak_bytes(load) - cost.peak_bytes({}), held, 1e-6 * held);
  }
}

// As step_overhead() does for pipelines: attention takes as long as on the device with most heads.
TEST(DeviceGroupCost, UnevenHeadsLengthenAttention) {
  SystemContext context = testing::toy_cluster(8);
  const GroupLoad load = load_of({2000, 500});
  const DeviceGroupCost even(context, 2, 0);
  context.profile.heads = {3, 3};
  const DeviceGroupCost uneven(context, 2, 0);
  const Seconds attention = 3e-9 * load.token2 / 2.0;
  EXPECT_NEAR(uneven.busy(load) - even.busy(load), attention / 3.0, 1e-9 * attention);
  context.profile.heads = {4, 4};
  EXPECT_EQ(DeviceGroupCost(context, 2, 0).busy(load), even.busy(load));
}

TEST(DeviceGroupCost, CapacityIsWholeTokensADevice) {
  for (const int degree : {1, 2, 4, 8}) {
    for (const int recompute : {0, 2, 8}) {
      SystemContext context = testing::toy_cluster(8);
      context.bytes_per_device = 1234567.0;
      const DeviceGroupCost cost(context, degree, recompute);
      GroupLoad full;
      full.tokens = cost.capacity();
      EXPECT_EQ(full.tokens % degree, 0);
      EXPECT_LE(cost.peak_bytes(full), context.bytes_per_device);
      full.tokens += degree;
      EXPECT_GT(cost.peak_bytes(full), context.bytes_per_device);
    }
  }
  SystemContext none = testing::toy_cluster(8);
  none.profile.device_memory_bytes = 0.0;
  EXPECT_GE(DeviceGroupCost(none, 2, 0).capacity(), Tokens{1} << 50);
  SystemContext tiny = testing::toy_cluster(8);
  tiny.bytes_per_device = 10.0;
  EXPECT_EQ(DeviceGroupCost(tiny, 2, 0).capacity(), 0);
}

TEST(DeviceGroupCost, LayerwiseTemporariesTakeRoom) {
  SystemContext context = testing::toy_cluster(8);
  const DeviceGroupCost plain(context, 2, 0);
  context.profile.memory.layerwise = LayerwiseMemory{.forward_bytes_per_token = 100.0,
                                                     .backward_bytes_per_token = 3000.0,
                                                     .backward_bytes = 400.0,
                                                     .head_block_tokens = 1.0,
                                                     .head_block_bytes_per_token = 500.0};
  const DeviceGroupCost layerwise(context, 2, 0);
  EXPECT_LT(layerwise.capacity(), plain.capacity());
  const CostModel model(context.profile, {1, 2, 4}, {{0, 8}});
  for (const Tokens tokens : {Tokens{1}, Tokens{100}, Tokens{3000}}) {
    ChunkShape shape;
    shape.tokens = tokens;
    const GroupLoad load = {0.0, tokens, 1};
    EXPECT_GE(layerwise.peak_bytes(load) - plain.peak_bytes(load),
              model.temporary_bound(StageId(), shape) * (1.0 - 1e-9));
  }
}

TEST(DeviceGroupCost, RecomputingTradesTimeForMemory) {
  const SystemContext context = testing::toy_cluster(8);
  const DeviceGroupCost none(context, 4, 0);
  const DeviceGroupCost all(context, 4, 8);
  EXPECT_GT(all.capacity(), 3 * none.capacity());
  EXPECT_GT(all.sequence(1000), none.sequence(1000));
  EXPECT_LT(all.sequence(1000), 1.5 * none.sequence(1000));
}

TEST(DeviceGroupCost, GathersHideBehindComputeAndCountWhereTheyDoNot) {
  const SystemContext context = testing::toy_cluster(8, true);
  const DeviceGroupCost cost(context, 2, 0);
  EXPECT_GT(cost.gather_seconds(), 0.0);
  EXPECT_NEAR(cost.seconds(load_of({1})), std::max(cost.gather_seconds(), cost.busy(load_of({1}))),
              cost.constant());
  const GroupLoad heavy = load_of({20000, 20000});
  EXPECT_EQ(cost.seconds(heavy), cost.busy(heavy));
  // States are gathered in memory as well.
  const DeviceGroupCost without(testing::toy_cluster(8), 2, 0);
  EXPECT_GT(cost.peak_bytes({}), without.peak_bytes({}));
}

TEST(DeviceGroupCost, GathersThatAreWaitedForAreAConstant) {
  SystemContext context = testing::toy_cluster(8, true);
  const DeviceGroupCost hidden(context, 2, 0);
  context.overlap_gathers = false;
  const DeviceGroupCost waited(context, 2, 0);
  const GroupLoad heavy = load_of({20000, 20000});
  EXPECT_NEAR(waited.seconds(heavy) - hidden.seconds(heavy), hidden.gather_seconds(), 1e-12);
  EXPECT_EQ(waited.capacity(), hidden.capacity());
  EXPECT_STREQ(hidden.gathers(), "overlapped");
  EXPECT_STREQ(waited.gathers(), "waited for");
  EXPECT_STREQ(DeviceGroupCost(testing::toy_cluster(8), 2, 0).gathers(), "in the profile");
}

TEST(DeviceGroupCost, ExchangesAcrossNodesKeepGathersWaiting) {
  // Degree 4 stays within a node of four, degree 8 does not.
  SystemContext context = testing::toy_cluster(8, true);
  context.profile.forward = {};
  context.profile.backward = {};
  context.profile.embedding = {};
  context.profile.head = {};
  const GroupLoad load = load_of({1000});
  const DeviceGroupCost inside(context, 4, 0);
  const DeviceGroupCost across(context, 8, 0);
  const Seconds gathers = inside.gather_seconds();
  EXPECT_NEAR(inside.seconds(load), gathers, 1e-12);
  EXPECT_NEAR(across.seconds(load), gathers + across.busy(load), 1e-12);
}

TEST(DeviceGroupCost, SlowestDeviceSetsThePace) {
  SystemContext context = testing::toy_cluster(8);
  const Seconds even = DeviceGroupCost(context, 2, 0).sequence(1000);
  context.profile.stage_speed = {1.0, 0.5};
  EXPECT_NEAR(DeviceGroupCost(context, 2, 0).sequence(1000), 2.0 * even, 1e-9 * even);
}

}  // namespace
}  // namespace infinipipe
