#include "cost/layouts.h"

#include <gtest/gtest.h>

#include "cost/step_overhead.h"
#include "infinipipe/base/error.h"
#include "support/profiles.h"

namespace infinipipe {
namespace {

// A profile without gathers and heads, with an all-to-all at every degree up to 64.
Profile plain() {
  Profile profile;
  for (int degree = 2; degree <= 64; degree *= 2) profile.links.all_to_all[degree] = 1.0;
  return profile;
}

std::string left_out(const std::vector<Layout>& layouts, const Parallelism& parallelism) {
  for (const Layout& layout : layouts) {
    if (layout.parallelism == parallelism) return layout.left_out;
  }
  return "not listed";
}

TEST(Layouts, AreAllProductsInOrder) {
  for (const int devices : {1, 2, 12, 32, 48, 96}) {
    std::vector<Parallelism> expected;
    for (int stages = 1; stages <= devices; ++stages) {
      for (int degree = 1; degree <= devices; degree *= 2) {
        if (devices % (stages * degree) != 0) continue;
        expected.push_back({stages, degree, devices / stages / degree});
      }
    }
    const std::vector<Layout> layouts = cluster_layouts(plain(), devices, devices, 8);
    ASSERT_EQ(layouts.size(), expected.size()) << devices;
    for (std::size_t i = 0; i < layouts.size(); ++i) {
      EXPECT_EQ(layouts[i].parallelism, expected[i]);
      EXPECT_EQ(layouts[i].left_out, "") << to_string(expected[i]);
      EXPECT_EQ(layouts[i].mark, "");
    }
  }
}

TEST(Layouts, GroupsMaySpanNodesAndStagesMayBeOne) {
  const Profile profile = read_profile(testing::profile_path("llama-7b-a800.json"));
  const auto layouts = cluster_layouts(profile, 32, 32, 8);
  for (const int degree : {1, 2, 4, 8, 16, 32}) {
    EXPECT_EQ(left_out(layouts, {1, degree, 32 / degree}), "") << degree;
  }
  EXPECT_EQ(left_out(layouts, {2, 16, 1}), "");
}

TEST(Layouts, EachReasonIsNamed) {
  Profile profile = plain();
  EXPECT_EQ(left_out(cluster_layouts(profile, 3, 4, 8), {4, 1, 1}), "4 stages for 3 layers");
  EXPECT_EQ(left_out(cluster_layouts(profile, 1, 4, 8), {2, 1, 2}), "2 stages for 1 layer");
  EXPECT_EQ(left_out(cluster_layouts(profile, 8, 16, 6), {1, 8, 2}),
            "a group of 8 does not fill nodes of 6");
  EXPECT_EQ(left_out(cluster_layouts(profile, 8, 16, 6), {1, 4, 4}), "");
  profile.heads = {4, 4};
  EXPECT_EQ(left_out(cluster_layouts(profile, 8, 8, 8), {1, 8, 1}),
            "8 devices cannot share 4 attention heads");
  EXPECT_EQ(left_out(cluster_layouts(profile, 8, 8, 8), {2, 4, 1}), "");
  profile.heads = {};
  profile.links.all_to_all.erase(8);
  EXPECT_EQ(left_out(cluster_layouts(profile, 8, 8, 8), {1, 8, 1}),
            "profile: links.all_to_all: no bandwidth for degree 8");
  profile.stage_speed = {1.0, 1.0};
  EXPECT_EQ(left_out(cluster_layouts(profile, 8, 8, 8), {4, 1, 2}),
            "profile: stage_speed: found 2 speeds for 4 stages");
  EXPECT_EQ(left_out(cluster_layouts(profile, 8, 8, 8), {2, 4, 1}), "");
  profile.stage_speed.clear();
  profile.links.all_gather = {{2, 1.0}, {4, 1.0}, {8, 1.0}};
  profile.links.reduce_scatter = {{2, 1.0}, {8, 1.0}};
  const auto layouts = cluster_layouts(profile, 8, 8, 8);
  EXPECT_EQ(left_out(layouts, {2, 4, 1}),
            "profile: links.reduce_scatter: no bandwidth for degree 4");
  for (const Layout& layout : layouts) {
    if (!layout.possible()) continue;
    EXPECT_EQ(absent_bandwidth(profile, layout.parallelism, 8), "");
  }
}

TEST(Layouts, UnevenHeadsAreMarked) {
  const Profile profile = read_profile(testing::profile_path("llama-30b-a800.json"));
  int marked = 0;
  for (const Layout& layout : cluster_layouts(profile, 60, 32, 8)) {
    const int degree = layout.parallelism.sequence_parallel;
    EXPECT_EQ(layout.mark.empty(), 52 % degree == 0) << degree;
    EXPECT_TRUE(layout.possible()) << layout.left_out;
    marked += layout.mark.empty() ? 0 : 1;
  }
  EXPECT_GT(marked, 3);
}

TEST(Layouts, WrongUse) {
  EXPECT_THROW(cluster_layouts(plain(), 8, 0, 8), InputError);
  EXPECT_THROW(cluster_layouts(plain(), 8, 8, 0), InputError);
  EXPECT_THROW(cluster_layouts(plain(), 0, 8, 8), InputError);
}

}  // namespace
}  // namespace infinipipe
