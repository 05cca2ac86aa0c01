#include "baselines/flexsp_problem.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "baselines/flexsp_bound.h"
#include "support/clusters.h"

namespace infinipipe {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Problem {
  std::vector<Tokens> lengths;  // descending
  std::vector<DeviceGroupCost> costs;
  int devices = 8;
};

Problem random_problem(Random& random, int most_sequences, int devices, bool gathers) {
  SystemContext context = testing::toy_cluster(devices, gathers);
  // Constants and gathers small beside the sequences, so that their degrees matter; memory that
  // binds in some of the problems.
  context.profile.forward.seconds_per_chunk = 1e-5;
  context.profile.backward.seconds_per_chunk = 2e-5;
  for (auto& [degree, rate] : context.profile.links.all_gather) rate *= 100.0;
  context.profile.links.reduce_scatter = context.profile.links.all_gather;
  context.bytes_per_device = 6e5 + 4e6 * random.uniform();
  Problem problem;
  problem.devices = devices;
  for (const int degree : group_degrees(context)) problem.costs.emplace_back(context, degree, 0);
  const int n = static_cast<int>(random.between(1, most_sequences));
  problem.lengths = testing::skewed_lengths(
      random, n,
      static_cast<Tokens>(static_cast<double>(problem.costs.back().capacity()) *
                          (0.1 + 0.9 * random.uniform())));
  std::sort(problem.lengths.rbegin(), problem.lengths.rend());
  return problem;
}

// Every partition of the sequences in groups and every degree for each, nothing left out.
class BruteForce {
 public:
  explicit BruteForce(const Problem& problem) : problem_(problem) { place(0); }
  Seconds best() const { return best_; }

 private:
  void place(std::size_t next) {
    if (next == problem_.lengths.size()) {
      choose(0, 0, 0.0);
      return;
    }
    for (std::size_t g = 0; g <= groups_.size(); ++g) {
      if (g == groups_.size()) groups_.emplace_back();
      groups_[g].add(problem_.lengths[next]);
      place(next + 1);
      groups_[g].remove(problem_.lengths[next]);
      if (groups_[g].tokens == 0) {
        groups_.pop_back();
        break;
      }
    }
  }
  void choose(std::size_t group, int used, Seconds slowest) {
    if (group == groups_.size()) {
      best_ = std::min(best_, slowest);
      return;
    }
    for (const DeviceGroupCost& cost : problem_.costs) {
      if (used + cost.degree() > problem_.devices) break;
      if (groups_[group].tokens > cost.capacity()) continue;
      choose(group + 1, used + cost.degree(), std::max(slowest, cost.seconds(groups_[group])));
    }
  }

  const Problem& problem_;
  std::vector<GroupLoad> groups_;
  Seconds best_ = kInfinity;
};

void expect_sound(const Problem& problem, const FlexAssignment& found) {
  std::vector<int> all;
  int devices = 0;
  Seconds slowest = 0.0;
  for (const FlexGroup& group : found.groups) {
    const DeviceGroupCost& cost = problem.costs[static_cast<std::size_t>(group.choice)];
    devices += cost.degree();
    GroupLoad load;
    for (const int i : group.members) load.add(problem.lengths[static_cast<std::size_t>(i)]);
    EXPECT_FALSE(group.members.empty());
    EXPECT_EQ(load.tokens, group.load.tokens);
    EXPECT_LE(load.tokens, cost.capacity());
    slowest = std::max(slowest, cost.seconds(load));
    all.insert(all.end(), group.members.begin(), group.members.end());
  }
  std::sort(all.begin(), all.end());
  std::vector<int> expected(problem.lengths.size());
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
  EXPECT_LE(devices, problem.devices);
  EXPECT_NEAR(found.seconds, slowest, 1e-9 * slowest);
  EXPECT_LE(found.lower_bound, found.seconds * (1.0 + 1e-12));
}

TEST(FlexspProblem, EqualsBruteForce) {
  Random random(11);
  int infeasible = 0;
  int mixed = 0;
  for (int round = 0; round < 200; ++round) {
    const Problem problem = random_problem(random, 7, 8, round % 2 == 0);
    const Seconds best = BruteForce(problem).best();
    const FlexAssignment found = assign_groups(problem.lengths, problem.costs, problem.devices);
    SCOPED_TRACE(round);
    ASSERT_EQ(found.feasible, best < kInfinity);
    if (!found.feasible) {
      ++infeasible;
      continue;
    }
    expect_sound(problem, found);
    EXPECT_TRUE(found.optimal);
    EXPECT_NEAR(found.seconds, best, 1e-9 * best);
    for (const FlexGroup& group : found.groups) {
      mixed += group.choice != found.groups.front().choice ? 1 : 0;
    }
  }
  EXPECT_GT(infeasible, 2);
  EXPECT_LT(infeasible, 150);
  EXPECT_GT(mixed, 10);  // heterogeneous groups do win
}

TEST(FlexspProblem, BoundsHoldForWhatBruteForceFinds) {
  Random random(12);
  for (int round = 0; round < 150; ++round) {
    const Problem problem = random_problem(random, 6, 8, round % 2 == 0);
    const Seconds best = BruteForce(problem).best();
    if (best == kInfinity) continue;
    EXPECT_LE(assignment_lower_bound(problem.lengths, problem.costs, problem.devices), best);
    // Without the exact search the bound of the multipliers alone must hold too.
    FlexLimits limits;
    limits.nodes = 0;
    const FlexAssignment quick =
        assign_groups(problem.lengths, problem.costs, problem.devices, limits);
    EXPECT_LE(quick.lower_bound, best * (1.0 + 1e-12));
    if (quick.feasible) {
      EXPECT_GE(quick.seconds, best * (1.0 - 1e-12));
    }
  }
}

TEST(FlexspProblem, LargeProblemsAreSoundAndNearTheirBound) {
  Random random(13);
  for (int round = 0; round < 8; ++round) {
    SystemContext context = testing::toy_cluster(16, round % 2 == 0);
    Problem problem;
    problem.devices = 16;
    for (const int degree : group_degrees(context)) problem.costs.emplace_back(context, degree, 0);
    problem.lengths = testing::skewed_lengths(random, 200, 600);
    std::sort(problem.lengths.rbegin(), problem.lengths.rend());
    const FlexAssignment found = assign_groups(problem.lengths, problem.costs, problem.devices);
    ASSERT_TRUE(found.feasible);
    expect_sound(problem, found);
    EXPECT_LT(found.seconds, 1.05 * found.lower_bound);
    const FlexAssignment again = assign_groups(problem.lengths, problem.costs, problem.devices);
    EXPECT_EQ(found.seconds, again.seconds);
    EXPECT_EQ(found.lower_bound, again.lower_bound);
  }
}

TEST(FlexspProblem, ClimbsWhereThereAreTooManyConfigurations) {
  Random random(14);
  for (int round = 0; round < 20; ++round) {
    const Problem problem = random_problem(random, 24, 16, false);
    FlexLimits few;
    few.configurations = 3;
    const FlexAssignment all = assign_groups(problem.lengths, problem.costs, problem.devices);
    const FlexAssignment climbed =
        assign_groups(problem.lengths, problem.costs, problem.devices, few);
    if (!climbed.feasible) continue;
    ASSERT_TRUE(all.feasible || !climbed.feasible);
    expect_sound(problem, climbed);
    EXPECT_LE(climbed.lower_bound, all.seconds);
    EXPECT_LT(climbed.seconds, 1.3 * all.seconds);
  }
}

TEST(FlexspProblem, NothingToDoAndNothingThatFits) {
  const SystemContext context = testing::toy_cluster(8);
  std::vector<DeviceGroupCost> costs;
  for (const int degree : group_degrees(context)) costs.emplace_back(context, degree, 0);
  EXPECT_TRUE(assign_groups({}, costs, 8).feasible);
  EXPECT_EQ(assign_groups({}, costs, 8).seconds, 0.0);
  const FlexAssignment none = assign_groups({costs.back().capacity() + 1}, costs, 8);
  EXPECT_FALSE(none.feasible);
  EXPECT_EQ(none.lower_bound, kInfinity);
  // One sequence that only the whole cluster holds.
  const FlexAssignment one = assign_groups({costs.back().capacity()}, costs, 8);
  ASSERT_TRUE(one.feasible);
  EXPECT_EQ(costs[static_cast<std::size_t>(one.groups.at(0).choice)].degree(), 8);
}

}  // namespace
}  // namespace infinipipe
