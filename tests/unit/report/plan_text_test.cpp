#include "infinipipe/report/plan_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/core/test_plans.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Plan explained_plan() {
  Plan plan = testing::make_plan();
  plan.step = 17;
  plan.planner.name = "epp";
  plan.planner.seconds = 0.041;
  plan.planner.solver = {"optimal", 0.004, 0.02};
  plan.planner.chunk_spread = 0.123;
  plan.planner.spread_cause = "1 chunk of what was left over";
  plan.planner.candidates = {{"list", 3, 4096, 2, 10, 1.93, "fastest"},
                             {"1f1b", 4, 128, 1, 12, 0.0, "over"}};
  plan.bytes_per_stage = 2000.0;
  plan.predicted =
      Prediction{1.93, 1.8, 0.05, 0.0, {{1.7, 0.1, 0.13, 1000.0}, {1.8, 0.0, 0.13, 500.0}}};
  return plan;
}

TEST(PlanText, OneLine) {
  EXPECT_EQ(plan_line(explained_plan()),
            "8 sequences in 10 chunks (4 split, 2 hybrid, 4 batched), 2 pipelines, K 3, 1.93 s (at "
            "least 1.80 s), bubble 5.0%");
  Plan longer = explained_plan();
  longer.predicted->step_overhead = 0.1;
  EXPECT_EQ(plan_line(longer), plan_line(explained_plan()) + ", and 100.0 ms outside instructions");
  Plan plan = testing::make_plan({.stages = 1, .pipelines = 1, .slices = 1, .shorts = 0});
  EXPECT_EQ(plan_line(plan),
            "1 sequence in 1 chunk (0 split, 0 hybrid, 1 batched), 1 pipeline, K 1");
}

TEST(PlanText, ExplainsEveryDecision) {
  const std::string text = explain_plan(explained_plan());
  for (const char* part :
       {"batch: step 17, 8 sequences, 666 tokens, the longest 300\n",
        "layout: 2 stages x sequence parallel 1 x data parallel 1, layers 2 + 2\n",
        "planner: epp in 41", "integer programme optimal in 20", "(gap 0.4%)",
        "cut: 2 sequences into 6 slices\n  sequence 0 of 300: 100 100 100\n  sequence 4 of 300:",
        "packed: 2 whole sequences share chunks\n",
        "chunks: 10 in 2 pipelines: 4 split, 2 hybrid, 4 batched; 11 to 110 tokens each\n",
        "chunk times: the slowest 12.3% above the mean; shorter are 1 chunk of what was left "
        "over\n",
        // Chunks 1 and 2 of both pipelines recompute 1 and 2 layers of 4 x 10.
        "recomputed: 15.0% of all layers' forwards (6 of 40)\n", "predicted: 1.93 s",
        "50.0% of the memory", "candidates, the chosen one first:\n", "4,096"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(PlanText, CountsChunksInSubGroups) {
  Plan plan = testing::make_plan({.pipelines = 1, .shorts = 4});  // of 11, 12 and 13 tokens
  plan.parallelism.sequence_parallel = 4;
  EXPECT_THAT(explain_plan(plan), Not(HasSubstr("sub-groups")));
  for (const std::size_t k : {3U, 4U, 5U}) {
    Chunk& chunk = plan.replicas[0].pipelines[0].chunks[k];
    chunk.degree = k == 5 ? 2 : 1;
    chunk.groups.assign(k == 5 ? 2 : 4, 0);
    chunk.groups[1] = 1;
  }
  EXPECT_THAT(explain_plan(plan),
              HasSubstr("sub-groups: 2 chunks of degree 1, 1 of degree 2, with 10.4% of all "
                        "tokens\n"));
}

TEST(PlanText, LeavesOutWhatIsNotThere) {
  const std::string text = explain_plan(testing::make_plan({.pipelines = 0}));
  EXPECT_THAT(text, HasSubstr("cut: no sequence\n"));
  EXPECT_THAT(text, HasSubstr("everything fits"));
  EXPECT_THAT(text, Not(HasSubstr("predicted")));
  EXPECT_THAT(text, Not(HasSubstr("candidates")));
}

TEST(PlanText, ShowsTheLongestCutSequencesOnly) {
  const std::string text = explain_plan(testing::make_plan({.pipelines = 11}));
  EXPECT_THAT(text, HasSubstr("cut: 11 sequences into 33 slices"));
  EXPECT_THAT(text, HasSubstr("  and 3 shorter ones\n"));
}

}  // namespace
}  // namespace infinipipe
