// Every plan of a random batch on a random machine is valid, fits, simulates to what it predicts,
// comes out the same again, and is no slower than ordinary ways to run the batch.
#include "random_batches.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

#include "infinipipe/base/error.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/planner/factory.h"

namespace infinipipe {
namespace {

struct Case {
  PlanContext context;
  PlanRequest request;
};

// Memory from "all fits" to "hardly anything does".
Case random_case(std::uint64_t seed, int most_sequences, int most_stages, Tokens most_tokens) {
  Random random(seed);
  Case result;
  PlanContext& context = result.context;
  context.parallelism.stages = static_cast<int>(random.between(1, most_stages));
  context.parallelism.sequence_parallel = 1 << random.between(0, 2);
  context.parallelism.data_parallel = random.uniform() < 0.1 ? 2 : 1;
  context.layers = context.parallelism.stages + static_cast<int>(random.between(0, 8));
  context.profile = test::random_profile(random, context.layers);
  result.request.sequences = test::random_lengths(random, most_sequences, most_tokens);
  result.request.step = static_cast<int>(seed % 1000);
  if (random.uniform() < 0.7) {
    Tokens total = 0;
    Tokens longest = 0;
    for (const Tokens n : result.request.sequences) {
      total += n;
      longest = std::max(longest, n);
    }
    const double per_token = 1000.0 * context.layers /
                             (context.parallelism.stages * context.parallelism.sequence_parallel);
    const double share = std::pow(random.uniform(), 2.0);
    const double tokens =
        static_cast<double>(longest) * 0.1 + share * static_cast<double>(total) * random.uniform();
    context.bytes_per_stage = 2e4 +
                              4e5 * (context.layers + 2.0) / context.parallelism.sequence_parallel +
                              per_token * tokens;
  }
  return result;
}

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

int cases(int usual) {
  const char* text = std::getenv("INFINIPIPE_SOAK_CASES");
  return text != nullptr ? std::atoi(text) : usual;
}

void check(std::uint64_t seed, const Case& c, int& planned) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  const auto plan = try_plan(c.context, "epp", c.request);
  const auto packed = try_plan(c.context, "1f1b", c.request);
  const auto sliced = try_plan(c.context, "seq1f1b", c.request);
  if (!plan) {
    EXPECT_FALSE(packed) << "whole sequences fit, the elastic plan does not";
    EXPECT_FALSE(sliced) << "equal slices fit, the elastic plan does not";
    return;
  }
  ++planned;
  const auto problem = validate(*plan);
  ASSERT_FALSE(problem) << problem->message;
  const CostModel cost(c.context.profile, c.context.parallelism, plan->stages);
  if (c.context.bytes_per_stage > 0.0) {
    EXPECT_NO_THROW(require_fits(*plan, cost, c.context.bytes_per_stage));
  }
  const Simulation simulation = simulate(*plan, cost);
  ASSERT_TRUE(plan->predicted);
  EXPECT_EQ(simulation.prediction.seconds, plan->predicted->seconds);
  EXPECT_GE(plan->predicted->seconds, plan->predicted->lower_bound * (1.0 - 1e-9));
  // The planner's own clock agrees with the simulator's.
  ASSERT_FALSE(plan->planner.candidates.empty());
  const Seconds allowed = plan->predicted->seconds * (1.0 + 1e-9);
  if (packed) {
    EXPECT_LE(plan->predicted->seconds, packed->predicted->seconds * (1.0 + 1e-9));
  }
  if (sliced) {
    EXPECT_LE(plan->predicted->seconds, sliced->predicted->seconds * (1.0 + 1e-9));
  }
  for (const Candidate& candidate : plan->planner.candidates) {
    EXPECT_GE(candidate.seconds * (1.0 + 1e-9), plan->planner.candidates.front().seconds);
  }
  EXPECT_LE(plan->planner.candidates.front().seconds, allowed);
  const auto again = try_plan(c.context, "epp", c.request);
  ASSERT_TRUE(again);
  EXPECT_EQ(plan_hash(*again), plan_hash(*plan));
}

TEST(RandomBatches, SmallOnesPlanWell) {
  int planned = 0;
  const int count = cases(1000);
  for (int i = 0; i < count; ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    check(seed, random_case(seed, 24, 5, 3000), planned);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(planned, count / 2);
}

TEST(RandomBatches, LargeOnesPlanWell) {
  int planned = 0;
  const int count = cases(12);
  for (int i = 0; i < count; ++i) {
    const auto seed = static_cast<std::uint64_t>(1000000 + i);
    check(seed, random_case(seed, 600, 16, 200000), planned);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(planned, count / 4);
}

}  // namespace
}  // namespace infinipipe
