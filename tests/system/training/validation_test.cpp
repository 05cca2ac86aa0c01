// Judging a run while it trains, and training a part of the weights.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "core/model_tensors.h"
#include "system/training/fixture.h"

namespace infinipipe {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ValidationTest : public TrainingTest {
 protected:
  TrainConfig judged() const {
    TrainConfig c = config();
    c.eval.data = folder_ + "/held-out";
    c.eval.every = 4;
    return c;
  }
  void SetUp() override {
    TrainingTest::SetUp();
    write_corpus(15, 2, "/held-out");
  }
  // A checkpoint's weights by name.
  static std::map<std::string, at::Tensor> weights(const TrainConfig& c) {
    const CheckpointInfo info = find_checkpoint(c.checkpoint.path);
    const auto engine =
        engine_of(info, c.model, {LayerRange{0, static_cast<int>(c.model.num_hidden_layers)}});
    std::map<std::string, at::Tensor> all;
    for (const Engine::StateTensor& each : engine->state()) {
      all[each.parameter->name] = each.parameter->master.clone();
    }
    return all;
  }
};

TEST_F(ValidationTest, IsWhatEvalPrintsAndChangesNothing) {
  TrainConfig c = judged();
  const std::vector<StepMetrics> steps = run(c);
  const auto judged_weights = weights(c);
  for (const StepMetrics& m : steps) {
    EXPECT_EQ(std::isnan(m.eval_loss), m.step != 3 && m.step != 5)
        << m.step;  // each 4, and at the end
  }
  for (const Json& line : metrics_lines()) {
    EXPECT_EQ(line["eval_loss"].is_null(), line["step"] != 3 && line["step"] != 5);
  }
  EvalOptions eval;
  eval.checkpoint = c.checkpoint.path;
  eval.data = c.eval.data;
  const EvalResult result = evaluate(eval);
  EXPECT_EQ(steps.back().eval_loss, result.loss);
  EXPECT_EQ(steps.back().eval_targets, result.targets);

  const TrainConfig plain = config();
  const std::vector<StepMetrics> others = run(plain);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    EXPECT_EQ(steps[i].loss, others[i].loss);
    EXPECT_EQ(steps[i].plan_hash, others[i].plan_hash);
    EXPECT_TRUE(std::isnan(others[i].eval_loss));
  }
  const auto plain_weights = weights(plain);
  ASSERT_EQ(plain_weights.size(), judged_weights.size());
  for (const auto& [name, weight] : plain_weights) {
    EXPECT_TRUE(at::equal(weight, judged_weights.at(name))) << name;
  }
}

TEST_F(ValidationTest, AStopIsNotMadeToWaitForIt) {
  TrainConfig c = judged();
  std::atomic<bool> stop = false;
  TrainOptions options = options_of(c);
  options.stop = &stop;
  options.before_instruction = [&](int step, int, const std::string&) { stop = step == 3; };
  double judged_at = 0.0;
  options.on_step = [&](const StepMetrics& m) { judged_at = m.eval_loss; };
  const TrainResult result = train(options);
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(result.next_step, 4);
  EXPECT_TRUE(std::isnan(judged_at)) << "step 3 was to be judged";
}

TEST_F(ValidationTest, AFailureInItKeepsTheStepBefore) {
  TrainConfig c = judged();
  TrainOptions options = options_of(c);
  bool seen = false;  // the step's own instructions come first; then the evaluation's, of step 0
  options.before_instruction = [&](int step, int stage, const std::string&) {
    if (stage != 0) return;
    if (step == 3) seen = true;
    if (seen && step == 0) throw RunError("the test", "fails here");
  };
  const Said said = listen(options);
  EXPECT_THAT(said.error, AllOf(HasSubstr("evaluating after step 3"), HasSubstr("fails here"),
                                HasSubstr("saved in " + c.checkpoint.path + "/step-000004")));
  EXPECT_EQ(metrics_lines().size(), 4U);
  c.eval = {};
  const std::vector<StepMetrics> rest = run(c, true);
  ASSERT_EQ(rest.size(), 2U);
  EXPECT_EQ(rest.front().step, 4);
}

TEST_F(ValidationTest, WhatCannotWorkIsSaidBeforeTheFirstStep) {
  TrainConfig c = judged();
  c.eval.data = folder_ + "/nowhere";
  EXPECT_THAT(listen(options_of(c)).error, HasSubstr("nowhere"));
  c.eval.data.clear();
  EXPECT_THAT(listen(options_of(c)).error,
              AllOf(HasSubstr("eval.every"), HasSubstr("set eval.data")));
  c = judged();
  c.model.vocab_size = 256;  // the end of a document is 256
  c.data.path = folder_ + "/small";
  {
    IndexedDatasetWriter writer(c.data.path, token_dtype_for(256));
    for (int i = 0; i < 8; ++i) {
      writer.append(std::vector<std::int64_t>{1, 2, 3, 4});
      writer.end_document();
    }
    writer.finish();
  }
  EXPECT_THAT(listen(options_of(c)).error,
              AllOf(HasSubstr("held-out: document 0"), HasSubstr("is 256")));
  EXPECT_FALSE(std::filesystem::exists(c.metrics.path));
}

TEST_F(ValidationTest, OnlyTheNamedWeightsAreTrained) {
  for (const bool tied : {false, true}) {
    TrainConfig c = config();
    c.model.tie_word_embeddings = tied;
    c.training.steps = 1;
    c.optimizer.lr = 0.0;
    run(c);
    const auto before = weights(c);
    c.optimizer.lr = 1e-2;
    c.optimizer.weight_decay = 0.5;
    c.training.only = {"q_proj", "model.layers.1", "embed_tokens"};
    const std::vector<StepMetrics> partly = run(c);
    const auto after = weights(c);
    int trained = 0;
    for (const auto& [name, weight] : before) {
      const bool expected = name.find("q_proj") != std::string::npos ||
                            name.starts_with("model.layers.1.") || name == kEmbeddingTensor ||
                            (tied && name == "lm_head.weight");
      EXPECT_EQ(!at::equal(weight, after.at(name)), expected) << name << " tied " << tied;
      trained += expected ? 1 : 0;
    }
    EXPECT_EQ(trained, 13 + (tied && before.contains("lm_head.weight") ? 1 : 0));
    c.training.only.clear();
    EXPECT_LT(partly.front().grad_norm, run(c).front().grad_norm);
  }
  TrainConfig c = config();
  c.training.only = {"q_prj"};
  EXPECT_THAT(listen(options_of(c)).error,
              AllOf(HasSubstr("training.only"), HasSubstr("did you mean q_proj?")));
}

}  // namespace
}  // namespace infinipipe
