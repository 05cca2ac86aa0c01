// What planners do at their limits: no memory, no solver time, hardly a batch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "infinipipe/base/error.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe {
namespace {

using ::testing::AnyOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

const std::vector<Tokens> kMixed = {40000, 9000, 3000, 2500, 2000, 1200, 800, 500, 300, 200, 100};

PlanContext context_with(Bytes limit) {
  PlanContext context;
  context.profile = read_profile(INFINIPIPE_GOLDEN "/../../profiles/llama-7b-a800.json");
  context.layers = 32;
  context.parallelism = {.stages = 2, .sequence_parallel = 8};
  context.bytes_per_stage = limit;
  return context;
}

Plan plan_for(const PlanContext& context, const std::vector<Tokens>& sequences) {
  PlanRequest request;
  request.sequences = sequences;
  return make_planner(context, std::make_shared<SimulatorEvaluator>(context.bytes_per_stage))
      ->plan(request);
}

TEST(PlannerLimits, ASolverThatIsStoppedLeavesAValidPlan) {
  PlanContext context = context_with(14e9);
  context.config.name = "epp-1f1b";
  context.config.solver_gap = 0.0;
  const Plan solved = plan_for(context, kMixed);
  const auto expect_plan = [&](const Plan& plan) {
    EXPECT_FALSE(validate(plan).has_value());
    const CostModel cost(context.profile, context.parallelism, plan.stages);
    EXPECT_NO_THROW(require_fits(plan, cost, context.bytes_per_stage));
    EXPECT_EQ(simulate(plan, cost).prediction.seconds, plan.predicted->seconds);
    EXPECT_GE(plan.planner.solver.gap, solved.planner.solver.gap);
  };
  context.config.solver_seconds = 0.0;
  const Plan stopped = plan_for(context, kMixed);
  expect_plan(stopped);
  EXPECT_EQ(stopped.planner.solver.status, "time limit");
  EXPECT_GT(stopped.planner.solver.gap, 0.0);
  context.config.solver_seconds = 10.0;
  context.config.solver_nodes = 1;
  const Plan one_node = plan_for(context, kMixed);
  expect_plan(one_node);
  EXPECT_THAT(one_node.planner.solver.status, AnyOf("node limit", "optimal"));
}

TEST(PlannerLimits, WhatCannotFitNamesStageBytesAndRemedies) {
  for (const char* name : {"epp", "epp-1f1b", "1f1b", "seq1f1b", "gpipe"}) {
    PlanContext context = context_with(9.6e9);  // states and little more
    context.config.name = name;
    try {
      plan_for(context, kMixed);
      ADD_FAILURE() << name << " planned it";
    } catch (const RunError& error) {
      EXPECT_THAT(error.what(), ContainsRegex("^plan: stage [01] needs [0-9.]+ GiB of 8.9 GiB"));
      EXPECT_THAT(error.what(), HasSubstr("longest sequence 40,000 tokens"));
      EXPECT_THAT(error.what(), HasSubstr("raise memory.bytes_per_stage, add stages or sequence "
                                          "parallelism, or lower data.max_sequence_length"));
    }
  }
}

// Where memory is too scarce for cutting the longest, keeping it whole would break what was asked.
TEST(PlannerLimits, ChunksAreNoLargerThanWasAsked) {
  PlanContext context = context_with(0.0);
  context.profile.memory.head_bytes_per_token *= 4.0;
  for (const Bytes limit : {10.5e9, 11e9, 12e9, 14e9, 20e9}) {
    context.bytes_per_stage = limit;
    for (const char* name : {"epp", "epp-1f1b"}) {
      context.config = {};
      context.config.name = name;
      context.config.chunk_tokens = 8192;
      try {
        const Plan plan = plan_for(context, kMixed);
        for (const Chunk& chunk : plan.replicas[0].pipelines[0].chunks) {
          EXPECT_LE(chunk.tokens(), 8192) << name << " at " << limit;
        }
      } catch (const RunError& error) {
        EXPECT_THAT(error.what(), HasSubstr(" needs "));
      }
    }
  }
}

TEST(PlannerLimits, APeakIsTheMostOfAllReplicas) {
  PlanContext context = context_with(0.0);
  context.parallelism.data_parallel = 2;
  context.config.name = "gpipe";
  const Plan plan = plan_for(context, {60000, 5000, 5000, 5000, 5000, 5000, 5000, 5000, 5000});
  const CostModel cost(context.profile, context.parallelism, plan.stages);
  const SimulatorEvaluator evaluator(0.0);
  for (std::size_t p = 0; p < plan.stages.size(); ++p) {
    Bytes most = 0.0;
    for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
      most = std::max(most, evaluator.evaluate(plan, cost, ReplicaId(r)).stages[p].peak_bytes);
    }
    EXPECT_EQ(plan.predicted->stages[p].peak_bytes, most);
  }
}

TEST(PlannerLimits, SmallBatchesArePlanned) {
  const PlanContext context = context_with(0.0);
  for (const std::vector<Tokens>& sequences :
       {std::vector<Tokens>{}, {1}, {1, 1}, std::vector<Tokens>(600, 1)}) {
    const Plan plan = plan_for(context, sequences);
    EXPECT_FALSE(validate(plan).has_value());
    EXPECT_EQ(plan.total_tokens(), static_cast<Tokens>(sequences.size()));
  }
}

}  // namespace
}  // namespace infinipipe
