#include "profile/design.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "infinipipe/core/validate.h"
#include "profile_testing.h"
#include "support/keeping.h"

namespace infinipipe {
namespace {

using testing::plan_of;
using testing::stages_of;

TEST(Design, PlansAreValid) {
  for (int stages = 1; stages <= 4; ++stages) {
    const std::vector<LayerRange> split = stages_of(stages, stages + 3);
    for (const Tokens longest : {1, 2, 3, 31, 200, 1024, 5000, 16384}) {
      for (std::uint64_t seed = 0; seed < 5; ++seed) {
        const auto groups = design_groups(longest, split, Random(seed));
        ASSERT_FALSE(groups.empty());
        Random random(seed, 1);
        const Plan plan = plan_of(groups, split, random);
        const auto problem = validate(plan);
        ASSERT_FALSE(problem) << problem->message << ", longest " << longest << ", seed " << seed;
        EXPECT_EQ(plan.stages, split);
        for (const Tokens length : plan.sequences) ASSERT_LE(length, longest);
        EXPECT_EQ(*std::max_element(plan.sequences.begin(), plan.sequences.end()), longest);
      }
    }
  }
}

TEST(Design, APlanOfEachGroupAloneIsValid) {
  const std::vector<LayerRange> split = stages_of(3, 7);
  for (const DesignGroup& group : design_groups(4096, split, Random(3))) {
    const auto problem = validate(design_plan({&group}, split));
    ASSERT_FALSE(problem) << problem->message;
    Tokens sum = 0;
    for (const Chunk& chunk : group.chunks) sum += chunk.tokens();
    EXPECT_EQ(sum, group.tokens());
  }
}

TEST(Design, ReachesEveryKindOfChunkAndInstruction) {
  const std::vector<LayerRange> split = stages_of(2, 8);
  const auto groups = design_groups(16384, split, Random(1));
  std::map<ChunkKind, int> kinds;
  int none = 0, some = 0, all = 0, packed = 0;
  std::set<Tokens> sizes;
  double longest_context = 0.0;
  for (const DesignGroup& group : groups) {
    for (const Chunk& chunk : group.chunks) {
      ++kinds[chunk.kind];
      for (std::size_t p = 0; p < split.size(); ++p) {
        none += chunk.keeping[p].remade() == 0;
        all += chunk.keeping[p].remade() == split[p].count();
        some += chunk.keeping[p].remade() > 0 && chunk.keeping[p].remade() < split[p].count();
        if (group.split_backward) {
          EXPECT_EQ(chunk.keeping[p].remade(), 0) << "W is timed apart";
        }
      }
      packed += chunk.slices.size() > 4;
      sizes.insert(chunk.tokens());
      longest_context = std::max(longest_context, static_cast<double>(chunk.context()));
    }
  }
  for (const ChunkKind kind : {ChunkKind::kSplit, ChunkKind::kHybrid, ChunkKind::kBatched}) {
    EXPECT_GE(kinds[kind], 3) << static_cast<int>(kind);
  }
  EXPECT_GT(none, 50);
  EXPECT_GT(all, 20);
  EXPECT_GT(some, 5);
  EXPECT_GT(packed, 5);
  EXPECT_GT(longest_context, 12000.0);
  EXPECT_LE(*sizes.begin(), 256);
  EXPECT_GE(*sizes.rbegin(), 2048);
  const Plan plan = [&] {
    Random random(2);
    return plan_of(groups, split, random);
  }();
  std::map<Op, int> ops;
  for (const Instruction& i : plan.replicas[0].instructions[0]) ++ops[i.op];
  EXPECT_GT(ops[Op::kBackward], 20);
  EXPECT_GT(ops[Op::kInputGrad], 10);
  EXPECT_EQ(ops[Op::kInputGrad], ops[Op::kWeightGrad]);
}

// A short measurement takes the first groups: they say something of everything.
TEST(Design, TheFirstGroupsSayMost) {
  auto groups = design_groups(8192, stages_of(2, 4), Random(1));
  groups.resize(6);
  bool cut = false, whole = false, packed = false, split = false, recomputed = false;
  for (const DesignGroup& group : groups) {
    cut = cut || group.chunks.size() > 1;
    whole = whole || (group.chunks.size() == 1 && group.sequences.size() == 1);
    packed = packed || (group.chunks.size() == 1 && group.sequences.size() > 3);
    split = split || group.split_backward;
    for (const Chunk& chunk : group.chunks) {
      recomputed =
          recomputed || (chunk.keeping == testing::inputs({2, 2}) && chunk.tokens() >= 2048);
    }
  }
  EXPECT_TRUE(cut && whole && packed && split && recomputed);
}

TEST(Design, SameSeedSameDesign) {
  const std::vector<LayerRange> split = stages_of(2, 4);
  const auto one = design_groups(4096, split, Random(7));
  const auto two = design_groups(4096, split, Random(7));
  const auto other = design_groups(4096, split, Random(8));
  ASSERT_EQ(one.size(), two.size());
  bool differ = one.size() != other.size();
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].chunks, two[i].chunks);
    differ = differ || one[i].chunks != other[i].chunks;
  }
  EXPECT_TRUE(differ);
}

// Two groups are in flight: the next one's forwards come before a group's backwards.
TEST(Design, NoStageIsIdleBetweenGroups) {
  const std::vector<LayerRange> split = stages_of(2, 4);
  std::vector<DesignGroup> groups = design_groups(1024, split, Random(1));
  groups.resize(4);
  std::vector<const DesignGroup*> order;
  for (const DesignGroup& group : groups) order.push_back(&group);
  const Plan plan = design_plan(order, split);
  EXPECT_EQ(plan.replicas[0].instructions[0], plan.replicas[0].instructions[1]);
  std::size_t chunks = 0;
  for (std::size_t g = 0; g < 2; ++g) chunks += groups[g].chunks.size();
  const auto& list = plan.replicas[0].instructions[0];
  for (std::size_t i = 0; i < chunks; ++i) EXPECT_EQ(list[i].op, Op::kForward) << i;
  EXPECT_NE(list[chunks].op, Op::kForward);
}

TEST(Design, ReplicasHaveTheSameWork) {
  const std::vector<LayerRange> split = stages_of(2, 4);
  std::vector<DesignGroup> groups = design_groups(1024, split, Random(1));
  groups.resize(3);
  std::vector<const DesignGroup*> order;
  for (const DesignGroup& group : groups) order.push_back(&group);
  const Plan one = design_plan(order, split, Keep::kAttention);
  const Plan three = design_plan(order, split, Keep::kAttention, 3);
  EXPECT_FALSE(validate(three));
  EXPECT_EQ(three.sequences.size(), 3 * one.sequences.size());
  ASSERT_EQ(three.replicas.size(), 3u);
  EXPECT_EQ(three.replicas[0], one.replicas[0]);
  for (const Replica& replica : three.replicas)
    EXPECT_EQ(replica.instructions, one.replicas[0].instructions);
}

}  // namespace
}  // namespace infinipipe
