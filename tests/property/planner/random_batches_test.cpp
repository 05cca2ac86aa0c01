// Every plan of a random batch on a random machine is valid, fits, simulates to what it predicts,
// comes out the same again, and is no slower than the paper's own method or ordinary ways to run
// the batch. INFINIPIPE_SOAK=1 runs ten thousand of all sizes beside the thousand small ones.
#include "random_batches.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <optional>

#include "infinipipe/base/error.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/planner/factory.h"
#include "planner/ordinary/ordinary_planner.h"
#include "property/sim/naive_checker.h"
#include "support/soak.h"

namespace infinipipe {
namespace {

using test::Case;
using test::random_case;
using testing::soak;

std::unique_ptr<Planner> planner_of(const PlanContext& context, const std::string& name) {
  PlanContext named = context;
  named.config.name = name;
  return make_planner(named, std::make_shared<SimulatorEvaluator>(named.bytes_per_stage));
}

std::optional<Plan> try_plan(const PlanContext& context, const std::string& name,
                             const PlanRequest& request) {
  try {
    return planner_of(context, name)->plan(request);
  } catch (const RunError& error) {
    EXPECT_NE(std::string(error.what()).find("plan: stage "), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(" needs "), std::string::npos) << error.what();
    return std::nullopt;
  }
}

// What simulate() says is what the plan predicts, to the last bit.
void expect_predicted(const Plan& plan, const Prediction& simulated) {
  const Prediction& predicted = *plan.predicted;
  EXPECT_EQ(simulated.seconds, predicted.seconds);
  EXPECT_EQ(simulated.bubble, predicted.bubble);
  EXPECT_EQ(simulated.lower_bound, predicted.lower_bound);
  ASSERT_EQ(simulated.stages.size(), predicted.stages.size());
  for (std::size_t p = 0; p < predicted.stages.size(); ++p) {
    EXPECT_EQ(simulated.stages[p].compute, predicted.stages[p].compute);
    EXPECT_EQ(simulated.stages[p].recompute, predicted.stages[p].recompute);
    EXPECT_EQ(simulated.stages[p].wait, predicted.stages[p].wait);
    if (plan.replicas.size() == 1) {  // else of the slowest replica, not the largest
      EXPECT_EQ(simulated.stages[p].peak_bytes, predicted.stages[p].peak_bytes);
    }
  }
}

// Time and memory once more, without the project's cost model and simulator.
void expect_naive_agrees(const Case& c, const Plan& plan) {
  const Json profile = profile_to_json(c.context.profile);
  Seconds slowest = 0.0;
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const auto naive = testing::NaiveChecker(plan, profile, r).run();
    slowest = std::max(slowest, naive.seconds);
    for (const double peak : naive.peak) {
      if (c.context.bytes_per_stage > 0.0) {
        EXPECT_LE(peak, c.context.bytes_per_stage * (1.0 + 1e-12));
      }
    }
  }
  EXPECT_NEAR(slowest, plan.predicted->seconds, 1e-9 * slowest);
}

// Every ordinary chunking with everything recomputed.
std::optional<Seconds> full_recomputation(const Case& c) {
  const auto evaluator = std::make_shared<SimulatorEvaluator>(c.context.bytes_per_stage);
  const BoundContext context(c.context, evaluator);
  const std::vector<Tokens>& lengths = c.request.sequences;
  std::optional<Seconds> best;
  for (const OrdinaryRecipe& recipe : rival_recipes(lengths, context, false)) {
    Plan plan = context.start(c.request);
    plan.replicas.assign(
        1, ordinary_replica(recipe, lengths, c.context.layers, context.cost(), false));
    const Evaluation evaluation = evaluator->evaluate(plan, context.cost(), ReplicaId{});
    if (!evaluation.over_stage && (!best || evaluation.seconds < *best)) best = evaluation.seconds;
  }
  return best;
}

struct Tally {
  int planned = 0;
  int recomputed = 0;  // plans that recompute something
  int mixed = 0;       // plans that recompute with attention and without
  int cut = 0;         // plans that cut some sequence
  int rivals = 0;      // plans with something to compare with
  int grouped = 0;     // plans with chunks in sub-groups
  int layerwise = 0;   // recomputing plans whose memory is counted layer by layer
};

void count_kinds(const Plan& plan, Tally& tally) {
  ++tally.planned;
  bool recomputed = false;
  for (const StagePrediction& stage : plan.predicted->stages) recomputed |= stage.recompute > 0.0;
  tally.recomputed += recomputed;
  const Plan::Recomputed again = plan.recomputed();
  const auto attention = again.by_level[index_of(Keep::kAttention)];
  tally.mixed += attention > 0 && attention < again.layers;
  const std::vector<bool> cut = plan.cut_sequences();
  tally.cut += std::find(cut.begin(), cut.end(), true) != cut.end();
}

void check(std::uint64_t seed, const Case& c, Tally& tally) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto plan = try_plan(c.context, "epp", c.request);
  std::vector<std::pair<std::string, Seconds>> rivals;
  if (c.context.config.sub_groups()) {
    PlanContext whole = c.context;
    whole.config.degree = "whole";
    const auto rival = try_plan(whole, "epp", c.request);
    if (rival) rivals.emplace_back("the whole group for each chunk", rival->predicted->seconds);
  }
  for (const char* name : {"1f1b", "seq1f1b", "epp-1f1b"}) {
    // The solver is slow: once in so many.
    if (std::string(name) == "epp-1f1b" && seed % 3 != 0) continue;
    const auto rival = try_plan(c.context, name, c.request);
    if (rival) rivals.emplace_back(name, rival->predicted->seconds);
  }
  if (c.context.profile.knows(Keep::kAttention)) {
    PlanContext keeping = c.context;
    keeping.config.recompute_keeps = "attention";
    const auto rival = try_plan(keeping, "seq1f1b", c.request);
    if (rival) rivals.emplace_back("seq1f1b that keeps attention", rival->predicted->seconds);
  }
  if (c.context.parallelism.data_parallel == 1) {
    const auto full = full_recomputation(c);
    if (full) rivals.emplace_back("full recomputation", *full);
  }
  if (!plan) {
    for (const auto& [name, seconds] : rivals) ADD_FAILURE() << name << " fits, epp does not";
    return;
  }
  const auto problem = validate(*plan);
  ASSERT_FALSE(problem) << problem->message;
  ASSERT_TRUE(plan->predicted);
  tally.grouped += plan->in_sub_groups();
  const CostModel cost(c.context.profile, c.context.parallelism, plan->stages);
  EXPECT_NO_THROW(require_fits(*plan, cost, c.context.bytes_per_stage));
  expect_predicted(*plan, simulate(*plan, cost).prediction);
  if (seed % 4 == 0) expect_naive_agrees(c, *plan);
  EXPECT_GE(plan->predicted->seconds, plan->predicted->lower_bound * (1.0 - 1e-9));
  for (const auto& [name, seconds] : rivals) {
    EXPECT_LE(plan->predicted->seconds, seconds * (1.0 + 1e-9)) << "slower than " << name;
  }
  // The planner's own clock agrees with the simulator's.
  ASSERT_FALSE(plan->planner.candidates.empty());
  const Candidate& first = plan->planner.candidates.front();
  if (plan->replicas.size() == 1) {
    EXPECT_EQ(first.seconds, plan->predicted->seconds);
  }
  for (const Candidate& candidate : plan->planner.candidates) {
    EXPECT_GE(candidate.seconds * (1.0 + 1e-9), first.seconds);
  }
  const auto again = try_plan(c.context, "epp", c.request);
  ASSERT_TRUE(again);
  EXPECT_EQ(plan_hash(*again), plan_hash(*plan));
  tally.rivals += !rivals.empty();
  const int before = tally.recomputed;
  count_kinds(*plan, tally);
  if (cost.layerwise()) tally.layerwise += tally.recomputed - before;
}

TEST(RandomBatches, SmallOnesPlanWell) {
  Tally tally;
  constexpr int kCases = 1000;
  for (int i = 0; i < kCases; ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    check(seed, random_case(seed, 24, 5, 3000), tally);
    if (HasFatalFailure()) return;
  }
  // The cases were of every kind.
  EXPECT_GT(tally.planned, kCases / 2);
  EXPECT_GT(tally.rivals, kCases / 2);
  EXPECT_GT(tally.recomputed, kCases / 10);
  EXPECT_GT(tally.cut, kCases / 4);
  EXPECT_GT(tally.layerwise, kCases / 40);
  EXPECT_GT(tally.grouped, kCases / 40);
}

// 20 blocks, so that GTEST_TOTAL_SHARDS can spread them.
class BatchesOfAllSizes : public ::testing::TestWithParam<int> {};

TEST_P(BatchesOfAllSizes, PlanWell) {
  Tally tally;
  const int cases = soak() ? 500 : 2;
  for (int i = 0; i < cases; ++i) {
    const auto seed = static_cast<std::uint64_t>(1000000 + 1000 * GetParam() + i);
    check(seed, test::case_of_any_size(seed), tally);
    if (HasFatalFailure()) return;
    if (soak() && (i + 1) % 50 == 0) {
      std::fprintf(stderr, "block %d: %d of %d batches, %d planned\n", GetParam(), i + 1, cases,
                   tally.planned);
    }
  }
  if (soak()) {
    EXPECT_GT(tally.planned, cases / 3);
  }
}

INSTANTIATE_TEST_SUITE_P(RandomBatches, BatchesOfAllSizes, ::testing::Range(0, 20));

}  // namespace
}  // namespace infinipipe
