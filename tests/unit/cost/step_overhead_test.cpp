#include "cost/step_overhead.h"

#include <gtest/gtest.h>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// One chunk of `tokens` tokens a replica, F and B on every stage of one layer.
Plan plan_of(const Parallelism& parallelism, Tokens tokens, bool split = false) {
  Plan plan;
  plan.parallelism = parallelism;
  for (int p = 0; p < parallelism.stages; ++p) plan.stages.push_back({p, p + 1});
  for (int r = 0; r < parallelism.data_parallel; ++r) {
    const SequenceId sequence(plan.sequences.size());
    plan.sequences.push_back(tokens);
    Replica replica;
    replica.pipelines.push_back({.chunks = {{.kind = ChunkKind::kBatched,
                                             .slices = {{sequence, 0, tokens}},
                                             .keeping = std::vector<Keeping>(
                                                 static_cast<std::size_t>(parallelism.stages))}},
                                 .backward = {0}});
    const PipelineId first(0);
    const ChunkId chunk(0);
    for (int p = 0; p < parallelism.stages; ++p) {
      replica.instructions.push_back({{Op::kForward, first, chunk}});
      if (split) {
        replica.instructions.back().push_back({Op::kInputGrad, first, chunk});
        replica.instructions.back().push_back({Op::kWeightGrad, first, chunk});
      } else {
        replica.instructions.back().push_back({Op::kBackward, first, chunk});
      }
    }
    plan.replicas.push_back(std::move(replica));
  }
  return plan;
}

// A layer has 800 bytes of weights and as many of gradients; 1 s forward and 2 s backward a token
// and layer on one device; inside a node 100 bytes/s, across nodes 10.
Profile profile_of(int layers) {
  Profile profile;
  profile.dtype = "bfloat16";
  profile.forward.seconds_per_token = layers;
  profile.backward.seconds_per_token = 2.0 * layers;
  profile.memory.state_bytes_per_layer = 6400.0;
  profile.links.p2p_bytes_per_second = 1.0;
  for (const int degree : {2, 4, 8, 16}) {
    profile.links.all_to_all[degree] = 1.0;
    profile.links.all_gather[degree] = degree <= 4 ? 100.0 : 10.0;
    profile.links.reduce_scatter[degree] = degree <= 4 ? 100.0 : 10.0;
  }
  return profile;
}

StepOverhead overhead(const Profile& profile, const Plan& plan) {
  return step_overhead(plan, CostModel(profile, plan.parallelism, plan.stages), 4);
}

TEST(StepOverhead, OneDeviceAStageHasNone) {
  const StepOverhead none = overhead(profile_of(2), plan_of({.stages = 2}, 5));
  EXPECT_EQ(none.total(), 0.0);
}

TEST(StepOverhead, GatherIsExposedWhereComputeIsShort) {
  // Gather of 800 x 3/4 bytes: 6 s; gather and reduction: 12 s.
  const Parallelism parallelism{.stages = 2, .sequence_parallel = 4};
  // 8 tokens over 4 devices: F 2 s, B 4 s. Exposed 4 + 8.
  EXPECT_DOUBLE_EQ(overhead(profile_of(2), plan_of(parallelism, 8)).gathers, 12.0);
  // W has half of B: I 2 s against 6, W 2 s against 6.
  EXPECT_DOUBLE_EQ(overhead(profile_of(2), plan_of(parallelism, 8, true)).gathers, 12.0);
  // 24 tokens: F 6 s hides its gather, B 12 s its gather and reduction.
  EXPECT_DOUBLE_EQ(overhead(profile_of(2), plan_of(parallelism, 24)).gathers, 0.0);
  // Twice the bytes for any other type.
  Profile wide = profile_of(2);
  wide.dtype = "float32";
  EXPECT_DOUBLE_EQ(overhead(wide, plan_of(parallelism, 8)).gathers, 10.0 + 20.0);
}

TEST(StepOverhead, AGroupOverTwoNodesSharesTheirLinks) {
  // 8 devices, 4 a node: each brings in 800/4/2 bytes at 10 bytes/s = 10 s, slower than 6 s inside.
  const Plan plan = plan_of({.sequence_parallel = 8}, 8);  // F 1 s, B 2 s
  EXPECT_DOUBLE_EQ(overhead(profile_of(1), plan).gathers, 9.0 + 18.0);
}

TEST(StepOverhead, ReplicasInsideANode) {
  // Two groups of two: 400 bytes a device, half of it moved each way at 100 bytes/s.
  const Plan plan = plan_of({.sequence_parallel = 2, .data_parallel = 2}, 1000);
  EXPECT_DOUBLE_EQ(overhead(profile_of(1), plan).reduction, 2.0 + 2.0);
}

TEST(StepOverhead, ReplicasAcrossNodesNeedTheSpansBandwidth) {
  // Groups of 4 fill a node: 200 bytes a device, half of it moved each way at 10 bytes/s.
  const Plan two = plan_of({.sequence_parallel = 4, .data_parallel = 2}, 1000);
  EXPECT_DOUBLE_EQ(overhead(profile_of(1), two).reduction, 10.0 + 10.0);
  // Groups of 2: two replicas a node, two nodes. 400 bytes a device: across nodes 400/2 x 1/2
  // at 10.
  const Plan four = plan_of({.sequence_parallel = 2, .data_parallel = 4}, 1000);
  EXPECT_DOUBLE_EQ(overhead(profile_of(1), four).reduction, 10.0 + 10.0);
  // The busiest stage counts: here the one with the embedding.
  Profile embedding = profile_of(2);
  embedding.memory.state_embedding_bytes = 6400.0;
  const Plan stages = plan_of({.stages = 2, .sequence_parallel = 4, .data_parallel = 2}, 1000);
  EXPECT_DOUBLE_EQ(overhead(embedding, stages).reduction, 20.0 + 20.0);

  Profile absent = profile_of(1);
  absent.links.reduce_scatter.erase(8);
  try {
    overhead(absent, two);
    FAIL() << "a bandwidth is missing";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("no bandwidth for degree 8"), std::string::npos)
        << error.what();
  }
}

TEST(StepOverhead, ProfilesWithoutGathersHaveNone) {
  Profile bare = profile_of(1);
  bare.links.all_gather.clear();
  bare.links.reduce_scatter.clear();
  const Plan plan = plan_of({.sequence_parallel = 4, .data_parallel = 2}, 8);
  EXPECT_EQ(overhead(bare, plan).total(), 0.0);
}

TEST(StepOverhead, GathersWaitedForAreChunkConstants) {
  Profile profile = profile_of(2);
  profile.memory.state_head_bytes = 6400.0;
  const Parallelism parallelism{.stages = 2, .sequence_parallel = 4};
  // Three times 800 bytes, 3/4 of it at 100 bytes/s.
  const Profile waited = with_waited_gathers(profile, parallelism, 2, 4);
  EXPECT_DOUBLE_EQ(waited.forward.seconds_per_chunk, 18.0);
  EXPECT_DOUBLE_EQ(waited.backward.seconds_per_chunk, 36.0);
  EXPECT_EQ(waited.links.all_gather, profile.links.all_gather);
  // Each of two layers has half of it; nothing is exposed on top where stages are alike.
  const Plan plan = plan_of(parallelism, 8);
  const CostModel cost(waited, parallelism, plan.stages);
  const CostModel free(profile, parallelism, plan.stages);
  ChunkShape shape;
  shape.tokens = 8;
  for (const StageId stage : {StageId(0), StageId(1)}) {
    EXPECT_DOUBLE_EQ(cost.forward(stage, shape) - free.forward(stage, shape), 9.0);
    EXPECT_DOUBLE_EQ(cost.backward(stage, shape) - free.backward(stage, shape), 18.0);
  }
  // Constants that a profile divides by the group are whole again after it.
  Profile divided = profile;
  divided.seconds_per_chunk_divided = true;
  EXPECT_DOUBLE_EQ(with_waited_gathers(divided, parallelism, 2, 4).forward.seconds_per_chunk, 72.0);
  // No group, no gathers; a profile without rates has them in its constants.
  EXPECT_EQ(with_waited_gathers(profile, {.stages = 2}, 2, 4).forward.seconds_per_chunk, 0.0);
  Profile bare = profile;
  bare.links.all_gather.clear();
  bare.links.reduce_scatter.clear();
  EXPECT_EQ(with_waited_gathers(bare, parallelism, 2, 4).forward.seconds_per_chunk, 0.0);
  profile.links.all_gather.erase(4);
  EXPECT_THROW(with_waited_gathers(profile, parallelism, 2, 4), InputError);
}

// Says yes exactly where nothing is thrown.
TEST(StepOverhead, KnowsItsBandwidths) {
  int known = 0;
  int unknown = 0;
  for (const int missing : {2, 4, 8, 16}) {
    Profile profile = profile_of(2);
    profile.links.reduce_scatter.erase(missing);
    for (const bool all : {false, true}) {
      profile.memory.state_sharding = all ? StateSharding::kAll : StateSharding::kSequenceParallel;
      for (const int stages : {1, 2}) {
        for (const int group : {1, 2, 4, 8}) {
          for (const int replicas : {1, 2}) {
            const Parallelism parallelism{stages, group, replicas};
            bool throws = false;
            try {
              overhead(profile, plan_of(parallelism, 8));
            } catch (const InputError&) {
              throws = true;
            }
            EXPECT_EQ(absent_bandwidth(profile, parallelism, 4).empty(), !throws)
                << stages << " " << group << " " << replicas << " without " << missing;
            ++(throws ? unknown : known);
          }
        }
      }
    }
  }
  EXPECT_GT(known, 10);
  EXPECT_GT(unknown, 10);
  Profile bare = profile_of(1);
  bare.links.all_gather.clear();
  bare.links.reduce_scatter.clear();
  EXPECT_EQ(absent_bandwidth(bare, {1, 8, 2}, 4), "");
}

// Two devices of three heads: one has 2 of them, 4/3 of the mean; a third of attention more.
TEST(StepOverhead, UnevenHeadsLengthenAttentionAlone) {
  Profile profile = profile_of(1);
  profile.forward.seconds_per_token2 = 0.5;
  profile.backward.seconds_per_token2 = 1.0;
  for (auto* rates : {&profile.links.all_gather, &profile.links.reduce_scatter}) rates->clear();
  const Parallelism parallelism{.sequence_parallel = 2};
  const Plan plan = plan_of(parallelism, 4);
  EXPECT_EQ(overhead(profile, plan).total(), 0.0);  // heads unknown
  profile.heads = {3, 3};
  const double attention = 4.0 * 4.0 * (0.5 + 1.0) / 2.0;
  EXPECT_DOUBLE_EQ(overhead(profile, plan).heads, attention / 3.0);
  EXPECT_DOUBLE_EQ(overhead(profile, plan).total(), attention / 3.0);
  EXPECT_DOUBLE_EQ(overhead(profile, plan_of(parallelism, 4, true)).heads, attention / 3.0);
  Plan again = plan;
  again.replicas[0].pipelines[0].chunks[0].keeping = {Keeping::of(Keep::kInput, 1)};
  EXPECT_DOUBLE_EQ(overhead(profile, again).heads, (attention + 4.0 * 4.0 * 0.5 / 2.0) / 3.0);
  // The busiest replica counts, and even shares cost nothing.
  EXPECT_DOUBLE_EQ(overhead(profile, plan_of({1, 2, 2}, 4)).heads, attention / 3.0);
  profile.heads = {4, 4};
  EXPECT_EQ(overhead(profile, plan).total(), 0.0);
}

TEST(StepOverhead, StatesShardedOverAllDevicesAreGatheredByAll) {
  Profile all = profile_of(1);
  all.memory.state_sharding = StateSharding::kAll;
  const Plan plan = plan_of({.sequence_parallel = 4, .data_parallel = 2}, 4);  // F 1 s, B 2 s
  const StepOverhead found = overhead(all, plan);
  EXPECT_EQ(found.reduction, 0.0);
  EXPECT_DOUBLE_EQ(found.gathers, 9.0 + 18.0);
}

// What a chunk's own devices have counts: 3 heads are uneven on 2 devices, not on 1.
TEST(StepOverhead, UnevenHeadsOfASubGroup) {
  const Parallelism parallelism{.stages = 1, .sequence_parallel = 6};
  Profile profile = profile_of(1);
  profile.forward.seconds_per_token2 = 1.0;
  profile.backward.seconds_per_token2 = 3.0;
  profile.links.all_to_all[6] = 1.0;
  for (auto* rates : {&profile.links.all_gather, &profile.links.reduce_scatter}) rates->clear();
  profile.heads = {24, 3};
  Plan plan = plan_of(parallelism, 4);
  EXPECT_EQ(overhead(profile, plan).heads, 0.0) << "4 query heads a device";
  Chunk& chunk = plan.replicas[0].pipelines[0].chunks[0];
  chunk.degree = 2;
  chunk.groups = {0, 1, 0};
  EXPECT_DOUBLE_EQ(overhead(profile, plan).heads, 4.0 * 16.0 / 2.0 / 3.0);
  chunk.degree = 1;
  chunk.groups = {0, 1, 0, 0, 0, 0};
  EXPECT_EQ(overhead(profile, plan).heads, 0.0);
}

}  // namespace
}  // namespace infinipipe
