#include "baselines/flexsp_bound.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "support/clusters.h"

namespace infinipipe {
namespace {

std::vector<DeviceGroupCost> costs_of(const SystemContext& context) {
  std::vector<DeviceGroupCost> costs;
  for (const int degree : group_degrees(context)) costs.emplace_back(context, degree, 0);
  return costs;
}

// Any assignment at all, dealt at random, takes at least the bound of its groups and of all groups.
TEST(FlexBound, NoRandomAssignmentBeatsIt) {
  Random random(52);
  int checked = 0;
  double tightest = 0.0;
  for (int round = 0; round < 60; ++round) {
    SystemContext context = testing::toy_cluster(16, round % 2 == 0);
    context.bytes_per_device = 4e6 + 6e6 * random.uniform();
    const std::vector<DeviceGroupCost> costs = costs_of(context);
    auto lengths = testing::skewed_lengths(random, 40, 800);
    std::sort(lengths.rbegin(), lengths.rend());
    const FlexBound bound(lengths, costs, 16);
    for (int trial = 0; trial < 20; ++trial) {
      Configuration configuration(costs.size(), 0);
      std::vector<std::size_t> groups;
      for (int left = 16; left > 0;) {
        const auto c = static_cast<std::size_t>(
            random.between(0, static_cast<std::int64_t>(costs.size()) - 1));
        if (costs[c].degree() > left) continue;
        left -= costs[c].degree();
        ++configuration[c];
        groups.push_back(c);
      }
      std::vector<GroupLoad> loads(groups.size());
      bool fits = true;
      for (const Tokens length : lengths) {
        // Mostly where it ends first, at times anywhere.
        std::size_t at = 0;
        Seconds least = std::numeric_limits<double>::infinity();
        for (std::size_t g = 0; g < groups.size(); ++g) {
          if (loads[g].tokens + length > costs[groups[g]].capacity()) continue;
          const Seconds end = costs[groups[g]].busy(loads[g]) + costs[groups[g]].sequence(length);
          if (end < least && (least > 1e9 || random.between(0, 9) > 0)) {
            least = end;
            at = g;
          }
        }
        if (least > 1e9) fits = false;
        loads[at].add(length);
      }
      if (!fits) continue;
      Seconds slowest = 0.0;
      for (std::size_t g = 0; g < groups.size(); ++g) {
        if (loads[g].tokens == 0) continue;
        slowest = std::max(slowest, costs[groups[g]].seconds(loads[g]));
      }
      ++checked;
      EXPECT_LE(bound.overall(), slowest);
      for (const int effort : {0, 5, 40}) {
        const Seconds of = bound.of(configuration, slowest * 1.0001, effort);
        EXPECT_LE(of, slowest * (1.0 + 1e-12));
        EXPECT_GE(of, bound.overall() * (1.0 - 1e-12));
        tightest = std::max(tightest, of / slowest);
      }
    }
  }
  EXPECT_GT(checked, 200);
  EXPECT_GT(tightest, 0.9);  // and the bound says something
}

TEST(FlexBound, MoreEffortIsNeverLooser) {
  Random random(53);
  const SystemContext context = testing::toy_cluster(16);
  const std::vector<DeviceGroupCost> costs = costs_of(context);
  auto lengths = testing::skewed_lengths(random, 60, 900);
  std::sort(lengths.rbegin(), lengths.rend());
  const FlexBound bound(lengths, costs, 16);
  const Configuration mixed = {2, 1, 1, 1, 0};  // 2 x 1, 2, 4, 8
  Seconds last = 0.0;
  for (const int effort : {0, 1, 4, 16, 64}) {
    const Seconds now = bound.of(mixed, 1e9, effort);
    EXPECT_GE(now, last);
    last = now;
  }
  EXPECT_GT(last, bound.of(mixed, 1e9, 0));
}

TEST(FlexBound, ASequenceThatNoGroupEndsInTimeClosesTheConfiguration) {
  const SystemContext context = testing::toy_cluster(8);
  const std::vector<DeviceGroupCost> costs = costs_of(context);
  const std::vector<Tokens> lengths = {5000};
  const FlexBound bound(lengths, costs, 8);
  const Seconds on_eight = costs.back().constant() + costs.back().sequence(5000);
  const Seconds on_one = costs.front().constant() + costs.front().sequence(5000);
  ASSERT_LT(on_eight, on_one);
  // Eight single devices cannot beat one group of eight.
  EXPECT_EQ(bound.of({8, 0, 0, 0}, on_eight, 0), on_eight);
  EXPECT_NEAR(bound.overall(), on_eight, 1e-9);
}

TEST(FlexBound, GathersAreAFloor) {
  SystemContext context = testing::toy_cluster(8, true);
  for (auto& [degree, rate] : context.profile.links.all_gather) rate = 1.0;
  const std::vector<DeviceGroupCost> costs = costs_of(context);
  const FlexBound bound({1}, costs, 8);
  EXPECT_NEAR(bound.overall(), costs.front().gather_seconds(), 1e-9 * bound.overall());
}

}  // namespace
}  // namespace infinipipe
