// Layer split, chunk sizes that memory leaves, and the processor's index of buckets.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "base/random.h"
#include "core/limits.h"
#include "infinipipe/base/error.h"
#include "planner/chunking/bucket_index.h"
#include "planner/chunking/chunk_table.h"
#include "planner/chunking/memory_bounds.h"
#include "planner/layer_split.h"

namespace infinipipe {
namespace {

Profile simple_profile(int layers) {
  Profile profile;
  profile.forward = {.seconds_per_token = 1e-6 * layers};
  profile.backward = {.seconds_per_token = 2e-6 * layers};
  profile.memory.activation_bytes_per_token = 100.0 * layers;
  profile.memory.input_bytes_per_token = 10.0;
  profile.memory.kv_bytes_per_token = 4.0;
  profile.memory.kv_grad_bytes_per_token = 8.0;
  profile.links.p2p_bytes_per_second = 1e9;
  return profile;
}

Seconds stage_seconds(const CostModel& cost, StageId stage) {
  const ChunkShape chunk{.token2 = 8192.0 * 8192.0, .tokens = 8192, .slices = 1};
  return cost.forward(stage, chunk) + cost.backward(stage, chunk);
}

std::vector<LayerRange> ranges(const std::vector<int>& counts) {
  std::vector<LayerRange> result;
  int begin = 0;
  for (const int n : counts) {
    result.push_back({begin, begin + n});
    begin += n;
  }
  return result;
}

TEST(BalanceLayers, EqualStagesGetEqualLayers) {
  EXPECT_EQ(balance_layers(simple_profile(8), {.stages = 4}, 8, 0.0),
            (std::vector<int>{2, 2, 2, 2}));
}

TEST(BalanceLayers, EarlyStagesGetFewerWhereItMakesNoDifference) {
  EXPECT_EQ(balance_layers(simple_profile(6), {.stages = 4}, 6, 0.0),
            (std::vector<int>{1, 1, 2, 2}));
}

TEST(BalanceLayers, TheHeadCountsAsLayers) {
  Profile profile = simple_profile(12);
  profile.head = {.forward_seconds_per_token = 2e-6, .backward_seconds_per_token = 4e-6};
  EXPECT_EQ(balance_layers(profile, {.stages = 2}, 12, 0.0), (std::vector<int>{7, 5}));
}

TEST(BalanceLayers, ASlowStageGetsLess) {
  Profile profile = simple_profile(12);
  profile.stage_speed = {1.0, 0.5};
  EXPECT_EQ(balance_layers(profile, {.stages = 2}, 12, 0.0), (std::vector<int>{8, 4}));
}

TEST(BalanceLayers, StatesMustFit) {
  Profile profile = simple_profile(12);
  profile.memory.state_bytes_per_layer = 10.0;
  profile.memory.state_embedding_bytes = 45.0;
  EXPECT_EQ(balance_layers(profile, {.stages = 2}, 12, 0.0), (std::vector<int>{6, 6}));
  EXPECT_EQ(balance_layers(profile, {.stages = 2}, 12, 91.0), (std::vector<int>{4, 8}));
}

TEST(BalanceLayers, NoSplitIsBetter) {
  Random random(12);
  for (int round = 0; round < 60; ++round) {
    const int stages = static_cast<int>(random.between(1, 4));
    const int layers = stages + static_cast<int>(random.between(0, 7));
    Profile profile = simple_profile(layers);
    profile.head.forward_seconds_per_token = 1e-5 * random.uniform();
    profile.embedding.forward_seconds_per_token = 3e-6 * random.uniform();
    for (int p = 0; p < stages; ++p) profile.stage_speed.push_back(0.5 + random.uniform());
    const Parallelism parallelism{.stages = stages};
    const auto busiest = [&](const std::vector<int>& counts) {
      const CostModel cost(profile, parallelism, ranges(counts));
      Seconds most = 0.0;
      for (int p = 0; p < stages; ++p) most = std::max(most, stage_seconds(cost, StageId(p)));
      return most;
    };
    const Seconds ours = busiest(balance_layers(profile, parallelism, layers, 0.0));
    std::vector<int> counts;
    const std::function<void(int)> all = [&](int left) {
      if (static_cast<int>(counts.size()) + 1 == stages) {
        counts.push_back(left);
        EXPECT_LE(ours, busiest(counts) * (1 + 1e-9));
        counts.pop_back();
        return;
      }
      const int later = stages - 1 - static_cast<int>(counts.size());
      for (int n = 1; n <= left - later; ++n) {
        counts.push_back(n);
        all(left - n);
        counts.pop_back();
      }
    };
    all(layers);
  }
}

// Memory counts where any split fits, and then no split that fits is faster.
TEST(BalanceLayers, NoSplitThatFitsIsBetter) {
  Random random(13);
  for (int round = 0; round < 300; ++round) {
    const int stages = static_cast<int>(random.between(1, 4));
    const int layers = stages + static_cast<int>(random.between(0, 9));
    Profile profile = simple_profile(layers);
    profile.head.forward_seconds_per_token = 1e-5 * random.uniform();
    profile.embedding.forward_seconds_per_token = 3e-6 * random.uniform();
    if (round % 2 == 0) {
      for (int p = 0; p < stages; ++p) profile.stage_speed.push_back(0.5 + random.uniform());
    }
    profile.memory.state_bytes_per_layer = 10.0;
    profile.memory.state_embedding_bytes = 30.0 * random.uniform();
    const Bytes limit = 10.0 * layers / stages * (0.9 + 0.6 * random.uniform());
    const Parallelism parallelism{.stages = stages};
    struct Split {
      bool fits = true;
      Seconds busiest = 0.0;
    };
    const auto judge = [&](const std::vector<int>& counts) {
      Split split;
      const CostModel cost(profile, parallelism, ranges(counts));
      for (int p = 0; p < stages; ++p) {
        const StageId stage(p);
        split.fits = split.fits && cost.state_bytes(stage) + cost.workspace_bytes() < limit;
        split.busiest = std::max(split.busiest, stage_seconds(cost, stage));
      }
      return split;
    };
    const Split ours = judge(balance_layers(profile, parallelism, layers, limit));
    std::vector<int> counts;
    const std::function<void(int)> all = [&](int left) {
      const int later = stages - 1 - static_cast<int>(counts.size());
      for (int n = later == 0 ? left : 1; n <= left - later; ++n) {
        counts.push_back(n);
        if (later > 0) {
          all(left - n);
        } else if (const Split other = judge(counts); other.fits >= ours.fits) {
          EXPECT_EQ(other.fits, ours.fits) << round;
          EXPECT_LE(ours.busiest, other.busiest * (1 + 1e-9)) << round;
        }
        counts.pop_back();
      }
    };
    all(layers);
  }
}

// What the split costs must not grow with the square of the layers.
TEST(BalanceLayers, ManyLayersAreSplitAtOnce) {
  const std::vector<int> counts =
      balance_layers(simple_profile(kMostLayers), {.stages = 128}, kMostLayers, 0.0);
  EXPECT_EQ(*std::min_element(counts.begin(), counts.end()), kMostLayers / 128);
  EXPECT_EQ(*std::max_element(counts.begin(), counts.end()), kMostLayers / 128 + 1);
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), kMostLayers);
}

TEST(StageLayers, RespectsAGivenSplitAndRefusesABrokenOne) {
  PlanContext context;
  context.profile = simple_profile(6);
  context.layers = 6;
  context.parallelism.stages = 2;
  context.layers_per_stage = std::vector<int>{1, 5};
  EXPECT_EQ(stage_layers(context), ranges({1, 5}));
  for (const auto& wrong :
       {std::vector<int>{6}, std::vector<int>{0, 6}, std::vector<int>{2, 3}, std::vector<int>{}}) {
    context.layers_per_stage = wrong;
    EXPECT_THROW(stage_layers(context), InputError);
  }
  context.layers_per_stage.reset();
  context.parallelism.stages = 7;
  EXPECT_THROW(stage_layers(context), InputError);
}

TEST(MemoryBounds, NoLimitNoBounds) {
  const CostModel cost(simple_profile(4), {.stages = 2}, ranges({2, 2}));
  const MemoryBounds floor = memory_bounds(cost, {5, 100}, 0.0);
  ASSERT_EQ(floor.bounds.size(), 1u);
  EXPECT_GT(floor.bounds[0].capacity, 1000000);
}

TEST(MemoryBounds, ByHand) {
  // A stage of two layers keeps 20 bytes a token with full recomputation, works with 100 more, and
  // a cut sequence keeps 8 of K and V and 16 of their gradients.
  const CostModel cost(simple_profile(4), {.stages = 2}, ranges({2, 2}));
  const MemoryBounds floor = memory_bounds(cost, {10}, 1200.0);
  ASSERT_FALSE(floor.bounds.empty());
  EXPECT_EQ(floor.bounds[0].capacity, 10);
  EXPECT_EQ(memory_bounds(cost, {100}, 1200.0).bounds.size(), 0u);
  const MemoryBounds none = memory_bounds(cost, {100}, 4000.0);
  EXPECT_TRUE(none.bounds.empty());
  EXPECT_DOUBLE_EQ(none.over, 100 * 44.0 + 120.0 - 4000.0);
}

TEST(MemoryBounds, TheLastResortFits) {
  Random random(3);
  for (int round = 0; round < 200; ++round) {
    const CostModel cost(simple_profile(4), {.stages = 2}, ranges({2, 2}));
    std::vector<Tokens> lengths(20);
    for (Tokens& n : lengths) n = random.between(1, 3000);
    const Bytes limit = 200000.0 * random.uniform();
    const MemoryBounds floor = memory_bounds(cost, lengths, limit);
    for (const ChunkBounds& bounds : floor.bounds) {
      if (!bounds.last_resort) continue;
      const Chunking chunking = process_sequences(
          lengths, chunk_seconds(cost),
          {.slices = 4, .capacity = bounds.capacity, .slice_capacity = bounds.slice_capacity});
      const ChunkTable table(chunking, lengths, cost, limit);
      const RecomputeMatrix full(table.entries.size(), 2);
      for (int g = 0; g < static_cast<int>(table.groups.size()); ++g) {
        EXPECT_LE(group_peaks(table, full, 0, g).back(), table.budget[0]);
      }
    }
  }
}

TEST(BucketIndex, EqualsALinearScan) {
  Random random(10);
  BucketIndex index;
  std::vector<Bucket> all;
  for (int round = 0; round < 20000; ++round) {
    if (all.size() < 300 && random.uniform() < 0.6) {
      Bucket bucket{.id = round,
                    .tokens = random.between(1, 50),
                    .free_tokens = random.between(0, 50),
                    .seconds = 1.0 + static_cast<double>(random.between(0, 20))};
      index.insert(bucket);
      all.push_back(bucket);
      continue;
    }
    const Tokens tokens = random.between(0, 55);
    const Seconds seconds = 25.0 * random.uniform();
    const bool best = random.uniform() < 0.7;
    std::size_t expected = all.size();
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].free_tokens < tokens || all[i].seconds > seconds) continue;
      const auto key = [&](const Bucket& b) {
        return std::tuple(best ? 0.0 : b.seconds, b.ratio(), b.id);
      };
      if (expected == all.size() || key(all[i]) < key(all[expected])) expected = i;
    }
    const auto found =
        best ? index.take_best(tokens, seconds) : index.take_shortest(tokens, seconds);
    ASSERT_EQ(found.has_value(), expected < all.size());
    if (!found) continue;
    EXPECT_EQ(found->id, all[expected].id);
    all.erase(all.begin() + static_cast<std::ptrdiff_t>(expected));
  }
}

}  // namespace
}  // namespace infinipipe
