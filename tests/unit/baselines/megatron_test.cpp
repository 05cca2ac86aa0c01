#include "baselines/megatron.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "baselines/collectives.h"
#include "baselines/megatron_cost.h"
#include "baselines/megatron_lanes.h"
#include "support/clusters.h"

namespace infinipipe {
namespace {

GroupLoad load_of(const std::vector<Tokens>& lengths) {
  GroupLoad load;
  for (const Tokens length : lengths) load.add(length);
  return load;
}

TEST(Megatron, SettingsFillTheClusterWithEqualStages) {
  const SystemContext context = testing::toy_cluster(16);
  const std::vector<MegatronSetting> settings = megatron_settings(context);
  EXPECT_GT(settings.size(), 100u);
  for (const MegatronSetting& s : settings) {
    EXPECT_EQ(s.tensor * s.context * s.stages * s.data, 16);
    EXPECT_EQ(context.layers % s.stages, 0);
    EXPECT_LE(s.tensor, context.devices_per_node);
    EXPECT_LE(s.recompute, context.layers / s.stages);
  }
  for (std::size_t i = 1; i < settings.size(); ++i) {
    EXPECT_EQ(std::count(settings.begin(), settings.end(), settings[i]), 1);
  }
}

// The degree inside a node counts too: replicas of tensor groups gather over half a node first.
TEST(Megatron, DegreesWithoutBandwidthsAreLeftOut) {
  SystemContext context = testing::toy_cluster(32, true);
  context.devices_per_node = 8;
  context.profile.links.all_gather = {{8, 2e6}, {32, 1e6}};
  context.profile.links.reduce_scatter = context.profile.links.all_gather;
  const std::vector<MegatronSetting> settings = megatron_settings(context);
  EXPECT_FALSE(settings.empty());
  for (const MegatronSetting& setting : settings) EXPECT_NO_THROW(MegatronCost(context, setting));
  EXPECT_NO_THROW(make_megatron(context, {}));
  context.profile.links.all_gather.clear();  // each of the two maps counts for itself
  for (const MegatronSetting& s : megatron_settings(context)) {
    EXPECT_NO_THROW(MegatronCost(context, s));
  }
}

TEST(Megatron, TensorParallelismWaitsForFourCollectivesALayer) {
  const SystemContext context = testing::toy_cluster(8);
  const MegatronCost cost(context, {4, 1, 1, 2, 0});
  // 128 bytes a token, three quarters leave a device, at three quarters of 3e9 bytes/s.
  EXPECT_NEAR(cost.tensor_seconds(load_of({1000})), 4 * 128.0 * 1000 * 0.75 / (3e9 * 0.75), 1e-15);
  EXPECT_EQ(MegatronCost(context, {1, 4, 1, 2, 0}).tensor_seconds(load_of({1000})), 0.0);
  // The context group shares the tokens.
  EXPECT_NEAR(MegatronCost(context, {4, 2, 1, 1, 0}).tensor_seconds(load_of({1000})),
              cost.tensor_seconds(load_of({1000})) / 2, 1e-15);
}

TEST(Megatron, RingHidesBehindLongAttentionOnly) {
  const SystemContext context = testing::toy_cluster(8);
  const MegatronCost cost(context, {1, 4, 2, 1, 0});
  // Many short sequences: nothing to hide behind. K and V of 1/4 of the tokens, three times.
  const GroupLoad shorts = load_of(std::vector<Tokens>(500, 4));
  const double rate = 3e9 * 0.75;
  const double attention = 1e-9 * 500 * 16 / 8 / 4 / 4;
  EXPECT_NEAR(cost.ring_seconds(shorts, false), 3 * (128.0 * 2000 / 4 / rate - attention), 1e-12);
  EXPECT_GT(cost.ring_seconds(shorts, true), cost.ring_seconds(shorts, false));
  // One long sequence: attention of a block takes longer than its message.
  EXPECT_EQ(cost.ring_seconds(load_of({20000}), false), 0.0);
  EXPECT_EQ(MegatronCost(context, {4, 1, 2, 1, 0}).ring_seconds(shorts, false), 0.0);
}

TEST(Megatron, RingsAcrossNodesArePacedByTheNetwork) {
  SystemContext context = testing::toy_cluster(8);
  context.profile.links.p2p_bytes_per_second = 1e7;
  const GroupLoad shorts = load_of(std::vector<Tokens>(500, 4));
  // Context 8 over two nodes of four: one ring has the whole node's network, 4e7.
  const MegatronCost across(context, {1, 8, 1, 1, 0});
  const double attention = 1e-9 * 500 * 16 / 8 / 8 / 8;
  EXPECT_NEAR(across.ring_seconds(shorts, false), 7 * (128.0 * 2000 / 8 / 4e7 - attention), 1e-9);
  // Tensor 2: two rings share it, each with half the heads.
  const MegatronCost shared(context, {2, 4, 1, 1, 0});
  EXPECT_NEAR(shared.ring_seconds(shorts, false),
              3 * (128.0 * 2000 / 4 / 2 / 2e7 - 1e-9 * 500 * 16 / 8 / 2 / 4 / 4), 1e-9);
}

TEST(Megatron, OptimizerIsShardedWeightsAndGradientsAreNot) {
  const SystemContext context = testing::toy_cluster(8);
  const MegatronCost cost(context, {2, 1, 2, 2, 0});
  const Bytes first = (4 * 4096.0 + 8192.0) / 2;
  EXPECT_NEAR(cost.fixed_bytes(0), first * (4.0 / 16 + 12.0 / 16 / 2) + 1500.0, 1e-6);
  EXPECT_EQ(cost.fixed_bytes(0), cost.fixed_bytes(1));
}

TEST(Megatron, RecomputationRepeatsForwardsAndTheirWaits) {
  const SystemContext context = testing::toy_cluster(8);
  const GroupLoad load = load_of({300, 200});
  const ChunkCost none = MegatronCost(context, {2, 2, 2, 1, 0}).chunk(0, load);
  const ChunkCost all = MegatronCost(context, {2, 2, 2, 1, 4}).chunk(0, load);
  EXPECT_EQ(none.workspace, 0.0);
  EXPECT_GT(all.workspace, 0.0);
  EXPECT_LT(all.activations, none.activations);
  EXPECT_EQ(all.forward, none.forward);
  // The embedding is not recomputed.
  EXPECT_NEAR(all.backward - none.backward, none.forward - 1e-8 * 500 / 4, 1e-12);
}

// Lanes of the same tokens and pairs differ where one has more sequences.
TEST(MegatronLanes, EachLaneIsRunAsItIs) {
  const SystemContext context = testing::toy_cluster(8);
  const MegatronCost cost(context, {1, 1, 1, 8, 0});
  GroupLoad few = load_of({300, 400});
  GroupLoad many = few;
  many.sequences = 50;
  const Seconds alone = run_lanes(context, 1, 1, {{{&cost, many}}}).seconds;
  EXPECT_GT(alone, run_lanes(context, 1, 1, {{{&cost, few}}}).seconds);
  EXPECT_EQ(run_lanes(context, 1, 1, {{{&cost, few}}, {{&cost, many}}}).seconds, alone);
}

TEST(Collectives, WithinANodeAndAcross) {
  const Profile profile = testing::toy_profile_with_gathers();
  const Collectives four(profile, 4);
  EXPECT_EQ(four.all_gather(1e6, 1), 0.0);
  EXPECT_NEAR(four.all_gather(1e6, 4), 1e6 * 0.75 / 4e6, 1e-12);
  // 16 devices on 4 nodes: each device brings in a quarter of three nodes' parts at 2e6, then the
  // node spreads it at 4e6.
  EXPECT_NEAR(four.reduce_scatter(1e6, 16), std::max(1e6 / 4 * 0.75 / 2e6, 1e6 * 0.75 / 4e6),
              1e-12);
  const Collectives alone(profile, 1);
  EXPECT_NEAR(alone.all_gather(1e6, 8), 1e6 * 7 / 8 / 2e6, 1e-12);
  const Profile without = testing::toy_profile();
  EXPECT_EQ(Collectives(without, 4).all_gather(1e6, 16), 0.0);
}

}  // namespace
}  // namespace infinipipe
