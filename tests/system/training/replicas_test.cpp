// Training runs of several replicas against those of one, and checkpoints that go from one layout
// to another.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "infinipipe/base/error.h"
#include "system/training/fixture.h"
#include "trainer/evaluation.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

class ReplicasTest : public TrainingTest {
 protected:
  TrainConfig layout(int stages, int replicas) const {
    TrainConfig c = config(stages);
    c.parallelism.data_parallel = replicas;
    return c;
  }
  std::string files(const std::string& folder) const {
    return read_file(folder + "/model.safetensors") + read_file(folder + "/optimizer.safetensors");
  }
  std::string newest() const { return find_checkpoint(folder_ + "/checkpoints").folder; }
};

void expect_near(const std::vector<StepMetrics>& found, const std::vector<StepMetrics>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i].loss, expected[i].loss, 2e-5 * expected[i].loss) << "step " << i;
    EXPECT_NEAR(found[i].grad_norm, expected[i].grad_norm, 1e-3 * expected[i].grad_norm);
    EXPECT_EQ(found[i].targets, expected[i].targets);
    if (std::isnan(expected[i].eval_loss)) continue;
    EXPECT_EQ(found[i].eval_targets, expected[i].eval_targets);
    EXPECT_NEAR(found[i].eval_loss, expected[i].eval_loss, 2e-5 * expected[i].eval_loss);
  }
}

TEST_F(ReplicasTest, LearnWhatOneDoes) {
  write_corpus(7, 5, "/judge");  // the last batch of an evaluation is smaller than the others
  TrainConfig one = layout(2, 1);
  one.eval.data = folder_ + "/judge";
  one.eval.every = 3;
  const std::vector<StepMetrics> expected = run(one);
  for (const auto& [stages, replicas] : {std::pair(2, 2), std::pair(1, 3)}) {
    TrainConfig c = layout(stages, replicas);
    c.eval = one.eval;
    const std::vector<StepMetrics> found = run(c);
    expect_near(found, expected);
    EXPECT_EQ(found[0].peak_bytes.size(), static_cast<std::size_t>(stages));
  }
}

TEST_F(ReplicasTest, ASingleSequenceLeavesTheOthersIdle) {
  TrainConfig one = layout(2, 1);
  one.training.sequences_per_step = 1;
  TrainConfig two = layout(2, 2);
  two.training.sequences_per_step = 1;
  const std::vector<StepMetrics> expected = run(one);
  expect_near(run(two), expected);
}

// The same logical tensors, whatever held them.
TEST_F(ReplicasTest, CheckpointsGoFromAnyLayoutToAnyOther) {
  for (const bool tied : {false, true}) {
    TrainConfig c = layout(2, 2);
    c.model.tie_word_embeddings = tied;
    c.training.steps = 3;
    run(c);
    const CheckpointInfo info = find_checkpoint(c.checkpoint.path);
    const std::string expected = files(info.folder);
    for (const auto& [stages, replicas] :
         {std::pair(1, 1), std::pair(4, 1), std::pair(2, 1), std::pair(1, 2), std::pair(1, 3)}) {
      Engine::Options options;
      options.model = c.model;
      for (int p = 0; p < stages; ++p)
        options.stages.push_back({p * 4 / stages, (p + 1) * 4 / stages});
      options.replicas = replicas;
      Engine engine(options);
      load_checkpoint(info, engine, true);
      TrainConfig other = c;
      other.checkpoint.path = folder_ + "/again";
      EXPECT_TRUE(files(save_checkpoint(engine, other, 3, info.sampler)) == expected)
          << stages << " stages, " << replicas << " replicas" << (tied ? ", tied" : "");
    }
  }
}

TEST_F(ReplicasTest, ResumedRunsAreTheSameBits) {
  TrainConfig c = layout(2, 2);
  c.training.steps = 8;
  const std::vector<StepMetrics> whole = run(c);
  const std::string expected = files(newest());
  std::filesystem::remove_all(c.checkpoint.path);
  c.training.steps = 4;
  run(c);
  c.training.steps = 8;
  const std::vector<StepMetrics> rest = run(c, /*resume=*/true);
  ASSERT_EQ(rest.size(), 4U);
  for (std::size_t i = 0; i < rest.size(); ++i) EXPECT_EQ(rest[i].loss, whole[4 + i].loss);
  EXPECT_TRUE(files(newest()) == expected);

  // With another number of replicas it goes on with the same numbers, to rounding.
  std::filesystem::remove_all(c.checkpoint.path);
  c.training.steps = 4;
  run(c);
  TrainConfig one = layout(4, 1);
  one.training.steps = 8;
  expect_near(run(one, /*resume=*/true), {whole.begin() + 4, whole.end()});
}

TEST_F(ReplicasTest, EvaluateAndGenerateFromTheirCheckpoint) {
  run(layout(2, 2));
  EvalOptions options;
  options.checkpoint = folder_ + "/checkpoints";
  const EvalResult two = evaluate(options);
  options.configure = [](TrainConfig c) {
    c.parallelism.data_parallel = 1;
    return c;
  };
  const EvalResult one = evaluate(options);
  EXPECT_NEAR(two.loss, one.loss, 1e-5 * one.loss);
  EXPECT_EQ(two.targets, one.targets);
  ASSERT_EQ(two.by_position.size(), one.by_position.size());
  for (std::size_t i = 0; i < one.by_position.size(); ++i)
    EXPECT_NEAR(two.by_position[i].loss, one.by_position[i].loss, 1e-5);
}

TEST_F(ReplicasTest, AFailureInAStepNamesTheReplica) {
  TrainOptions options = options_of(layout(2, 2));
  options.before_instruction = [](int step, int, const std::string&) {
    if (step == 2) throw std::runtime_error("a broken fan");
  };
  const Said said = listen(options);
  EXPECT_THAT(said.error, HasSubstr("step 2: replica "));
  EXPECT_THAT(said.error, HasSubstr("the steps before it are saved in"));
}

}  // namespace
}  // namespace infinipipe
