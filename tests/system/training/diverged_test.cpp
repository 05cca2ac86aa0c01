// A run that no longer learns does not look well, and leaves a checkpoint from before.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "system/training/fixture.h"
#include "trainer/checkpoint.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;

class DivergedTest : public TrainingTest {
 protected:
  // Learns for four steps; then the rate is absurd.
  TrainConfig diverging() const {
    TrainConfig c = config();
    c.training.steps = 40;
    c.checkpoint.every = 1;
    c.checkpoint.keep = 1;
    return c;
  }
};

TEST_F(DivergedTest, TooManySkippedStepsFailTheRun) {
  TrainConfig c = diverging();
  c.optimizer.lr = 1e30;
  c.optimizer.warmup_steps = 0;
  const Said said = listen(options_of(c));
  EXPECT_THAT(said.error,
              AllOf(HasSubstr("5 steps in a row were skipped"),
                    HasSubstr("training.max_skipped_steps"), HasSubstr("lower optimizer.lr")));
  EXPECT_THAT(said.warnings, Each(HasSubstr(" was skipped: its ")));
  EXPECT_EQ(said.warnings.size(), 5U);
  for (const Json& line : metrics_lines()) {
    const bool skipped = line["skipped"].get<bool>();
    EXPECT_EQ(line["skipped_because"].is_null(), !skipped);
    if (skipped) {
      EXPECT_EQ(line["skipped_because"], kNotFinite);
    }
  }
  c.training.max_skipped_steps = 0;  // no limit
  c.training.steps = 9;
  EXPECT_EQ(listen(options_of(c)).result.skipped, 8);
}

TEST_F(DivergedTest, TheLastGoodCheckpointStays) {
  TrainConfig c = diverging();
  c.training.steps = 4;
  run(c);
  EXPECT_FALSE(fs::exists(c.checkpoint.path + "/step-000003")) << "it ended well: keep is 1";
  c.training.steps = 40;
  c.optimizer.lr = 1e30;  // step 4 goes well, and its update ruins the weights
  const Said said = listen(options_of(c, true));
  EXPECT_THAT(said.error,
              HasSubstr("the last good checkpoint is " + c.checkpoint.path + "/step-000004"));
  EXPECT_TRUE(fs::exists(c.checkpoint.path + "/step-000004/manifest.json"));
  EXPECT_FALSE(fs::exists(c.checkpoint.path + "/step-000006")) << "skipped steps save nothing";
}

// A run in pieces: no piece that only skips becomes the newest checkpoint or pushes out a good one.
TEST_F(DivergedTest, ResumedOnesAddUpToAFailure) {
  TrainConfig c = diverging();
  c.training.steps = 4;
  run(c);
  c.optimizer.lr = 1e30;
  c.training.steps = 7;  // step 4 goes well, its update ruins the weights, 5 and 6 are skipped
  Said said = listen(options_of(c, true));
  EXPECT_EQ(said.error, "");
  EXPECT_EQ(said.result.skipped_at_end, 2);
  EXPECT_EQ(said.warnings.back(), "the last 2 steps were skipped: nothing was learnt in them");
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 5) << "skipped steps save nothing";
  EXPECT_TRUE(fs::exists(c.checkpoint.path + "/step-000004/manifest.json")) << "the last good one";
  c.training.steps = 8;  // 5, 6 and 7
  said = listen(options_of(c, true));
  EXPECT_THAT(said.error, AllOf(HasSubstr("step 7: all 3 steps were skipped"),
                                HasSubstr("lower optimizer.lr")));
  c.training.steps = 40;
  said = listen(options_of(c, true));
  EXPECT_THAT(said.error, HasSubstr("step 9: 5 steps in a row were skipped"));
  EXPECT_TRUE(fs::exists(c.checkpoint.path + "/step-000004/manifest.json"));
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 5);
}

// What went well before the skipped steps is saved all the same.
TEST_F(DivergedTest, StepsBeforeSkippedOnesAreSaved) {
  TrainConfig c = diverging();
  c.checkpoint.every = 0;
  c.training.steps = 4;
  c.optimizer.lr = 1e30;
  c.optimizer.warmup_steps = 0;
  const Said said = listen(options_of(c));
  EXPECT_EQ(said.error, "");
  EXPECT_EQ(said.result.skipped_at_end, 3);
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 4);
}

TEST_F(DivergedTest, ARunWithoutAFiniteLossFails) {
  TrainConfig c = diverging();
  c.training.steps = 2;
  c.model.initializer_range = 1e15;
  const Said said = listen(options_of(c));
  EXPECT_THAT(said.error, HasSubstr("step 1: all 2 steps were skipped, expected a finite loss"));
  EXPECT_FALSE(has_checkpoints(c.checkpoint.path));
  c.model.initializer_range = 1e40;
  EXPECT_THAT(listen(options_of(c)).error,
              HasSubstr("model.initializer_range: found 1e+40, expected at most 1e+15"));
}

// The update itself makes values that are not finite.
TEST_F(DivergedTest, WhatIsNotFiniteIsNotSaved) {
  TrainConfig c = diverging();
  c.optimizer.eps = 0.0;
  const Said said = listen(options_of(c));
  EXPECT_THAT(said.error,
              AllOf(HasSubstr("step-000001: not written: "), HasSubstr("is not finite")));
  EXPECT_FALSE(has_checkpoints(c.checkpoint.path));
}

TEST_F(DivergedTest, CheckFiniteNamesStageAndLayer) {
  TrainConfig c = config(2);
  c.training.steps = 2;
  run(c);
  // One weight of layer 2, on stage 1, is huge: finite, but what it gives is not.
  const CheckpointInfo info = find_checkpoint(c.checkpoint.path);
  const std::unique_ptr<Engine> holder = engine_of(info, c.model, {{0, 4}});
  Engine& engine = *holder;
  for (const Engine::StateTensor& state : engine.state()) {
    if (state.parameter->name == "model.layers.2.mlp.gate_proj.weight")
      state.parameter->master.fill_(3e38);
  }
  save_checkpoint(engine, info.config, 2, info.sampler, info.record);
  c.training.steps = 3;
  c.training.check_finite = true;
  const Said said = listen(options_of(c, true));
  EXPECT_THAT(said.error, HasSubstr("step 2: the only step was skipped"));
  EXPECT_THAT(said.warnings,
              Contains(HasSubstr("the first tensor that is not finite: stage 1, layer 2: its "
                                 "output")));
}

}  // namespace
}  // namespace infinipipe
