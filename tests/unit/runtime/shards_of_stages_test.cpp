// Engines whose stages have several shards: what the engine makes of its ranks.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "infinipipe/base/error.h"
#include "runtime/engine.h"
#include "support/broken_fan.h"
#include "support/engine_case.h"
#include "unit/core/test_plans.h"
#include "unit/runtime/step_fixture.h"

namespace infinipipe {
namespace {

using testing::BackwardStyle;
using ::testing::HasSubstr;
using testing::PlanShape;

// Two stages of two layers, of two shards each.
struct Fixture : testing::StepFixture {
  explicit Fixture(int shards = 2, const PlanShape& shape = {})
      : StepFixture(shape, Dtype::kFloat64, shards) {
    options.check_messages = true;
  }
};

TEST(ShardsOfStages, TraceIsOneOfEachStageAndExchangesArePartOfIt) {
  Fixture f;
  f.options.time_parts = true;
  Engine engine(f.options);
  const StepResult result = engine.run(f.plan, f.batch);
  EXPECT_EQ(result.trace.events.size(),
            f.plan.replicas[0].instructions[0].size() + f.plan.replicas[0].instructions[1].size());
  for (const TraceEvent& event : result.trace.events) {
    EXPECT_GT(event.exchange, 0.0) << to_string(event.instruction);
    EXPECT_LE(event.exchange, event.end - event.begin);
  }
  for (const PartTimes& parts : result.parts) EXPECT_GT(parts.exchange, 0.0);
  EXPECT_EQ(engine.status().size(), 4U);
  EXPECT_EQ(engine.status()[3].who, "stage 1, shard 1");
}

TEST(ShardsOfStages, AFailureNamesTheShardAndTheEngineGoesOn) {
  Fixture f;
  EXPECT_EQ(testing::named_in_failures(f.options, f.plan, f.batch, "shard ").size(), 2U);
}

TEST(ShardsOfStages, AnEvaluationHasTheTokensOfAll) {
  Fixture one(1, {.style = BackwardStyle::kNone});
  const StepResult expected = Engine(one.options).run(one.plan, one.batch);
  Fixture f(2, {.style = BackwardStyle::kNone});
  const StepResult result = Engine(f.options).run(f.plan, f.batch);
  EXPECT_NEAR(result.loss, expected.loss, 1e-12);
  ASSERT_EQ(result.token_losses.size(), f.plan.sequences.size());
  for (std::size_t i = 0; i < result.token_losses.size(); ++i) {
    ASSERT_EQ(result.token_losses[i].size(), expected.token_losses[i].size());
    for (std::size_t j = 0; j < result.token_losses[i].size(); ++j)
      EXPECT_NEAR(result.token_losses[i][j], expected.token_losses[i][j], 1e-12);
  }
}

// Weights stay the same everywhere, and moments are shared out over shards and replicas.
TEST(ShardsOfStages, AgreeAfterUpdates) {
  for (const Dtype dtype : {Dtype::kFloat32, Dtype::kBfloat16}) {
    Fixture f(2, {.replicas = 2});
    f.options.dtype = dtype;
    f.options.model.tie_word_embeddings = true;
    Engine engine(f.options);
    for (int step = 0; step < 3; ++step) {
      engine.zero_grad();
      engine.run(f.plan, f.batch);
      EXPECT_FALSE(engine.optimizer_step(step).skipped);
    }
    const auto first = engine.state(0);
    for (int copy = 1; copy < 4; ++copy) {
      const auto other = engine.state(copy);
      for (std::size_t i = 0; i < first.size(); ++i) {
        EXPECT_TRUE(at::equal(first[i].parameter->master, other[i].parameter->master));
        EXPECT_TRUE(at::equal(first[i].parameter->weight, other[i].parameter->weight));
      }
    }
    for (const auto& each : engine.state())
      EXPECT_EQ(engine.moments(each).exp_avg.sizes(), each.parameter->master.sizes());
  }
}

// Of a text each shard has some tokens; of a single token one has it and the others have none.
TEST(ShardsOfStages, WriteTextAsOneDoes) {
  Fixture one(1);
  Fixture f;
  Engine alone(one.options);
  Engine engine(f.options);
  const std::vector<std::int64_t> tokens = {3, 1, 4, 1, 5};
  EXPECT_TRUE(at::allclose(engine.all_logits(tokens), alone.all_logits(tokens), 1e-10, 1e-10));
  for (const std::vector<std::int64_t>& part : {tokens, {9}, {2}, {6, 5}}) {
    EXPECT_TRUE(at::allclose(engine.continue_text(part), alone.continue_text(part), 1e-10, 1e-10));
  }
  engine.end_text();
  EXPECT_GT(engine.run(f.plan, f.batch).loss, 0.0);
}

TEST(ShardsOfStages, RefuseMoreThanTheHeadsAllow) {
  Fixture f;
  f.options.shards = 3;
  try {
    Engine engine(f.options);
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("3 devices cannot share 2 attention heads"));
  }
}

}  // namespace
}  // namespace infinipipe
