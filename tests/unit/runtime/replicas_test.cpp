// Engines of several replicas: what each rank does, and what the engine makes of it.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "infinipipe/base/error.h"
#include "runtime/engine.h"
#include "runtime/shards.h"
#include "support/broken_fan.h"
#include "support/engine_case.h"
#include "unit/core/test_plans.h"
#include "unit/runtime/step_fixture.h"

namespace infinipipe {
namespace {

using testing::BackwardStyle;
using ::testing::HasSubstr;
using testing::PlanShape;

// Two replicas of two stages of two layers, each with pipelines of its own.
struct Fixture : testing::StepFixture {
  explicit Fixture(const PlanShape& shape = {.replicas = 2}) : StepFixture(shape, Dtype::kFloat32) {
    options.check_messages = true;
  }
};

TEST(Replicas, TraceHasAllAndPeaksAreThoseOfTheLargest) {
  Fixture f;
  Engine engine(f.options);
  const StepResult result = engine.run(f.plan, f.batch);
  std::set<std::pair<int, int>> ranks;
  for (const TraceEvent& event : result.trace.events)
    ranks.emplace(event.replica.value(), event.stage.value());
  EXPECT_EQ(ranks, (std::set<std::pair<int, int>>{{0, 0}, {0, 1}, {1, 0}, {1, 1}}));
  ASSERT_EQ(result.peak_bytes.size(), 2U);
  Bytes most = 0.0;
  for (const MemorySample& sample : result.trace.memory) {
    if (sample.stage != StageId(0)) continue;
    Bytes sum = 0.0;
    for (const Bytes bytes : sample.bytes) sum += bytes;
    most = std::max(most, sum);
  }
  EXPECT_EQ(result.peak_bytes[0], most);
  EXPECT_GT(result.trace.bubble(), 0.0);
  EXPECT_EQ(engine.status().size(), 4U);
  EXPECT_EQ(engine.status()[3].who, "replica 1, stage 1");
}

TEST(Replicas, AFailureNamesTheReplicaAndTheEngineGoesOn) {
  Fixture f;
  EXPECT_EQ(testing::named_in_failures(f.options, f.plan, f.batch, ": replica ").size(), 2U);
}

TEST(Replicas, AnEvaluationHasTheTokensOfAll) {
  Fixture f({.replicas = 2, .style = BackwardStyle::kNone});
  Engine engine(f.options);
  const StepResult result = engine.run(f.plan, f.batch);
  ASSERT_EQ(result.token_losses.size(), f.plan.sequences.size());
  double sum = 0.0;
  for (std::size_t i = 0; i < result.token_losses.size(); ++i) {
    EXPECT_EQ(static_cast<Tokens>(result.token_losses[i].size()), f.plan.sequences[i]);
    for (const double loss : result.token_losses[i]) sum += loss;
  }
  EXPECT_NEAR(sum / result.target_weight, result.loss, 1e-9);
}

// Weights stay the same everywhere; moments are shared out; tied copies follow.
TEST(Replicas, AgreeAfterUpdatesAndLoads) {
  for (const Dtype dtype : {Dtype::kFloat32, Dtype::kBfloat16}) {
    Fixture f;
    f.options.dtype = dtype;
    f.options.model.tie_word_embeddings = true;
    Engine engine(f.options);
    const auto expect_agreement = [&] {
      const auto first = engine.state(0);
      const auto second = engine.state(1);
      at::Tensor embedding;
      for (std::size_t i = 0; i < first.size(); ++i) {
        const Parameter& mine = *first[i].parameter;
        EXPECT_TRUE(at::equal(mine.master, second[i].parameter->master)) << mine.name;
        EXPECT_TRUE(at::equal(mine.weight, second[i].parameter->weight)) << mine.name;
        if (mine.name == "model.embed_tokens.weight") embedding = mine.weight;
        EXPECT_TRUE(!mine.tied_copy || at::equal(mine.weight, embedding));
      }
    };
    for (int step = 0; step < 3; ++step) {
      engine.zero_grad();
      engine.run(f.plan, f.batch);
      EXPECT_FALSE(engine.optimizer_step(step).skipped);
    }
    expect_agreement();
    for (const auto& each : engine.state()) {
      each.parameter->master.mul_(1.5);
      AdamW::Moments moments = engine.moments(each);
      EXPECT_EQ(moments.exp_avg.sizes(), each.parameter->master.sizes());
      EXPECT_GT(moments.exp_avg_sq.max().item<double>(), 0.0);
      moments.exp_avg.mul_(2.0);
      engine.set_moments(each, moments);
      EXPECT_TRUE(at::equal(engine.moments(each).exp_avg, moments.exp_avg));
    }
    engine.state_changed();
    expect_agreement();
  }
}

TEST(Replicas, HoldAPartOfTheMomentsEach) {
  for (const Dtype dtype : {Dtype::kFloat32, Dtype::kBfloat16}) {
    Bytes one = 0.0;
    for (const int replicas : {1, 2, 3}) {
      Fixture f({.replicas = replicas});
      f.options.dtype = dtype;
      Engine engine(f.options);
      const StepResult result = engine.run(f.plan, f.batch);
      const auto elements = [&](int rank) {
        std::int64_t count = 0;
        for (const auto& each : engine.state())
          if (each.stage == StageId(0))
            count += owned_range(each.parameter->master.numel(), rank, replicas).count();
        return static_cast<Bytes>(count);
      };
      for (const MemorySample& sample : result.trace.memory) {
        if (sample.stage != StageId(0)) continue;
        const Bytes bytes = sample.bytes[static_cast<std::size_t>(MemoryPurpose::kOptimizer)];
        EXPECT_EQ(bytes, 8.0 * elements(sample.replica.value()));
        if (replicas == 1) one = bytes;
        EXPECT_LE(bytes, one / replicas + 8.0 * 64);
      }
    }
  }
}

TEST(Replicas, SkipWhereOneOfThemIsNotFinite) {
  Fixture f;
  f.options.check_finite = true;
  Engine engine(f.options);
  engine.run(f.plan, f.batch);
  const at::Tensor before = engine.state()[2].parameter->master.clone();
  const Engine::StateTensor broken = engine.state(1)[2];
  broken.parameter->grad.view({-1})[0] = std::numeric_limits<float>::quiet_NaN();
  const Engine::Update update = engine.optimizer_step(0);
  EXPECT_TRUE(update.skipped);
  EXPECT_THAT(update.not_finite, HasSubstr("stage 0, the gradient of " + broken.parameter->name));
  for (int replica = 0; replica < 2; ++replica)
    EXPECT_TRUE(at::equal(before, engine.state(replica)[2].parameter->master));
  engine.zero_grad();
  engine.run(f.plan, f.batch);
  EXPECT_FALSE(engine.optimizer_step(0).skipped);
}

TEST(Replicas, TextIsTheFirstOnesWork) {
  Fixture f;
  Engine engine(f.options);
  Fixture single({.replicas = 1});
  Engine alone(single.options);
  const std::vector<std::int64_t> tokens = {3, 1, 4, 1, 5};
  EXPECT_TRUE(at::equal(engine.all_logits(tokens), alone.all_logits(tokens)));
  EXPECT_TRUE(at::equal(engine.continue_text(tokens), alone.continue_text(tokens)));
  engine.end_text();
  EXPECT_GT(engine.run(f.plan, f.batch).loss, 0.0);
}

}  // namespace
}  // namespace infinipipe
