#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "infinipipe/base/error.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/cost/profile.h"
#include "support/cache_home.h"
#include "system/training/fixture.h"
#include "trainer/profile.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST_F(TrainingTest, LearnsAndWritesMetricsPlansAndACheckpoint) {
  TrainConfig c = config();
  c.training.steps = 30;
  c.optimizer.decay_steps = 0;
  TrainOptions options = options_of(c);
  options.plan_dir = folder_ + "/plans";
  options.trace_dir = folder_ + "/traces";
  const TrainResult result = train(options);
  EXPECT_NEAR(result.first_loss, std::log(257.0), 0.3);
  EXPECT_LT(result.last_loss, 2.5);
  EXPECT_EQ(fs::path(result.checkpoint).filename(), "step-000030");

  const std::vector<Json> lines = metrics_lines();
  ASSERT_EQ(lines.size(), 30U);
  for (const char* field : {"step",
                            "loss",
                            "grad_norm",
                            "lr",
                            "tokens",
                            "sequences",
                            "seconds",
                            "tokens_per_second",
                            "flops_per_second",
                            "mfu",
                            "bubble_predicted",
                            "bubble_measured",
                            "seconds_predicted",
                            "peak_bytes",
                            "peak_bytes_predicted",
                            "plan_seconds",
                            "plan_wait_seconds",
                            "plan_cpu_seconds",
                            "planner",
                            "slices",
                            "pipelines",
                            "chunks",
                            "recomputed_layers",
                            "skipped",
                            "skipped_because",
                            "time",
                            "run",
                            "run_id",
                            "tokens_total",
                            "seconds_total",
                            "steps_repeated",
                            "seconds_lost",
                            "goodput"}) {
    EXPECT_TRUE(lines[7].contains(field)) << field;
  }
  EXPECT_EQ(lines[7]["peak_bytes"].size(), 2U);
  EXPECT_GT(lines[7]["peak_bytes"][0].get<double>(), 0.0);
  const Plan plan = read_plan(folder_ + "/plans/step-000007.json");
  EXPECT_FALSE(validate(plan).has_value());
  EXPECT_EQ(plan_hash(plan), lines[7]["plan_hash"].get<std::string>());
  EXPECT_TRUE(fs::exists(folder_ + "/traces/step-000007.json"));
}

TEST_F(TrainingTest, SameSeedGivesTheSameBits) {
  TrainConfig c = config();
  const auto first = run(c);
  const std::string weights = read_file(folder_ + "/checkpoints/step-000006/model.safetensors");
  fs::remove_all(c.checkpoint.path);
  const auto second = run(c);
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].loss, second[i].loss);
    EXPECT_EQ(first[i].grad_norm, second[i].grad_norm);
    EXPECT_EQ(first[i].plan_hash, second[i].plan_hash);
  }
  EXPECT_EQ(read_file(folder_ + "/checkpoints/step-000006/model.safetensors"), weights);
  c.training.seed = 2;
  fs::remove_all(c.checkpoint.path);
  EXPECT_NE(run(c)[0].loss, first[0].loss);
}

TEST_F(TrainingTest, ResumeAtAnotherNumberOfStagesGoesOn) {
  TrainConfig c = config(2);
  c.planner.recalibrate = true;  // paces are of two stages, the profile of any number
  c.training.steps = 3;
  run(c);
  c.training.steps = 6;
  c.parallelism.stages = 4;
  const auto after = run(c, true);
  ASSERT_EQ(after.size(), 3U);

  fs::remove_all(c.checkpoint.path);
  c.parallelism.stages = 2;
  c.planner.recalibrate = false;
  const auto straight = run(c);
  for (int i = 0; i < 3; ++i) {
    EXPECT_NEAR(after[i].loss, straight[i + 3].loss, 1e-4 * straight[i + 3].loss);
  }
}

// A measured profile is of its stages: the two's, which differ, is nothing for four.
TEST_F(TrainingTest, ResumeTakesTheProfileOfWhatRunsNow) {
  const CacheHome cache(folder_ + "/cache");
  TrainConfig two = config(2);
  two.cluster.profile = "";
  two.planner.recalibrate = true;
  two.training.steps = 3;
  TrainConfig four = two;
  four.parallelism.stages = 4;
  Profile profile = estimated_profile(two.model, Dtype::kFloat32);
  fs::create_directories(fs::path(cached_profile_path(two)).parent_path());
  write_file(cached_profile_path(four), profile_to_json(profile).dump());
  profile.stage_speed = {1.0, 0.5};
  write_file(cached_profile_path(two), profile_to_json(profile).dump());
  run(two);
  // The same stages go on with what the checkpoint knows, with no need of the cache.
  fs::remove(cached_profile_path(two));
  two.training.steps = four.training.steps = 6;
  EXPECT_EQ(run(two, true).size(), 3U);
  EXPECT_FALSE(fs::exists(cached_profile_path(two)));
  fs::remove_all(two.checkpoint.path + "/step-000006");
  EXPECT_EQ(run(four, true).size(), 3U);
}

// A measured profile is of its machine as well.
TEST_F(TrainingTest, ResumeElsewhereDoesNotPlanForTheOldMachine) {
  const CacheHome cache(folder_ + "/cache");
  TrainConfig c = config(2);
  c.cluster.profile = "";
  c.training.steps = 3;
  Profile profile = estimated_profile(c.model, Dtype::kFloat32);
  profile.source = "measured";
  profile.machine = "a larger one";
  fs::create_directories(fs::path(cached_profile_path(c)).parent_path());
  write_file(cached_profile_path(c), profile_to_json(profile).dump());
  run(c);
  std::vector<std::string> lines;
  TrainOptions options = options_of(c, true);
  options.config.training.steps = 6;
  options.log = [&lines](const std::string& line) { lines.push_back(line); };
  EXPECT_EQ(train(options).steps_done, 3);
  EXPECT_THAT(lines, ::testing::Contains(HasSubstr("of another machine (a larger one)")));
}

TEST_F(TrainingTest, AStopBeforeTheFirstStepTrainsNothing) {
  std::atomic<bool> stop{true};
  for (const char* profile : {"estimate", ""}) {  // at the first step; while measuring
    const CacheHome cache(folder_ + "/cache");
    TrainOptions options = options_of(config(2));
    options.config.cluster.profile = profile;
    options.stop = &stop;
    const TrainResult result = train(options);
    EXPECT_TRUE(result.stopped);
    EXPECT_EQ(result.steps_done, 0);
    EXPECT_TRUE(result.checkpoint.empty());
  }
}

// A budget that did not hold is not passed over in silence: here the profile says that nothing
// takes memory.
TEST_F(TrainingTest, SaysWhereABudgetWasExceeded) {
  TrainConfig c = config(2);
  c.training.steps = 2;
  c.memory.bytes_per_stage = 5e5;  // states alone take most of it
  Profile profile = estimated_profile(c.model, Dtype::kFloat32);
  profile.memory = {};
  c.cluster.profile = folder_ + "/profile.json";
  write_file(c.cluster.profile, profile_to_json(profile).dump());
  const Said said = listen(options_of(c));
  EXPECT_EQ(said.result.steps_done, 2) << said.error;
  EXPECT_THAT(said.warnings, ::testing::Contains(HasSubstr("step 1: stage 0 held ")));
}

// A checkpoint knows tied embeddings once, so that it fits any number of stages.
TEST_F(TrainingTest, TiedEmbeddingsMoveBetweenStages) {
  TrainConfig c = config(2);
  c.model.tie_word_embeddings = true;
  const auto straight = run(c);
  EvalOptions eval;
  eval.checkpoint = c.checkpoint.path;
  const EvalResult expected = evaluate(eval);
  for (const int stages : {1, 2, 4}) {
    EvalOptions options = eval;
    options.stages = stages;
    const EvalResult found = evaluate(options);
    EXPECT_NEAR(found.loss, expected.loss, 1e-5 * expected.loss) << stages << " stages";
    // By position, whatever was cut and packed; the ranges have all targets once.
    ASSERT_EQ(found.by_position.size(), expected.by_position.size());
    double targets = 0.0;
    double sum = 0.0;
    for (std::size_t i = 0; i < found.by_position.size(); ++i) {
      const PositionLoss& range = found.by_position[i];
      EXPECT_EQ(range.begin, i == 0 ? 0 : Tokens{1} << (i - 1));
      EXPECT_EQ(range.end, Tokens{1} << i);
      EXPECT_EQ(range.targets, expected.by_position[i].targets);
      EXPECT_NEAR(range.loss, expected.by_position[i].loss, 1e-4 * range.loss);
      targets += range.targets;
      sum += range.targets * range.loss;
    }
    EXPECT_EQ(targets, found.targets);
    EXPECT_NEAR(sum / targets, found.loss, 1e-9 * found.loss);
  }
  GenerateOptions options;
  options.checkpoint = c.checkpoint.path;
  options.tokens = 5;
  EXPECT_NO_THROW(generate(options));

  for (const int stages : {1, 4, 2}) {
    fs::remove_all(c.checkpoint.path);
    c.parallelism.stages = 2;
    c.training.steps = 3;
    run(c);
    c.parallelism.stages = stages;
    c.training.steps = 6;
    const auto after = run(c, true);
    ASSERT_EQ(after.size(), 3U);
    const double bound = stages == 2 ? 0.0 : 1e-4;  // the same split: the same bits
    for (int i = 0; i < 3; ++i)
      EXPECT_NEAR(after[i].loss, straight[i + 3].loss, bound * straight[i + 3].loss);
  }
}

// A preset and what changes it: the checkpoint's model is the one that was trained.
TEST_F(TrainingTest, APresetWithChangesSurvivesACheckpoint) {
  TrainConfig c = config();
  const ModelSpec own = c.model;
  set_config(c, "model.preset", "tiny", "test");
  ASSERT_FALSE(c.model == own);
  c.model = own;
  c.training.steps = 3;
  run(c);
  c.training.steps = 4;
  EXPECT_EQ(run(c, true).size(), 1U);
  GenerateOptions options;
  options.checkpoint = c.checkpoint.path;
  options.tokens = 3;
  EXPECT_NO_THROW(generate(options));
}

TEST_F(TrainingTest, AnotherDecayOnResumeIsSaid) {
  TrainConfig c = config();
  c.optimizer.decay_steps = 0;  // training.steps
  c.training.steps = 3;
  run(c);
  c.training.steps = 6;
  EXPECT_THAT(
      listen(options_of(c, true)).warnings,
      ::testing::Contains(HasSubstr("the rate now falls until step 6, before until step 3")));
}

TEST_F(TrainingTest, MetricsOfARepeatedStepAreReplaced) {
  TrainConfig c = config();
  c.training.steps = 4;
  c.checkpoint.every = 2;
  c.checkpoint.keep = 5;
  run(c);
  fs::remove_all(folder_ + "/checkpoints/step-000004");  // as if the run had died after step 3
  const auto again = run(c, true);
  ASSERT_EQ(again.size(), 2U);
  const auto lines = metrics_lines();
  ASSERT_EQ(lines.size(), 4U);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(lines[i]["step"].get<int>(), i);
}

TEST_F(TrainingTest, AStopRequestEndsWithACheckpoint) {
  TrainOptions options = options_of(config());
  std::atomic<bool> stop{false};
  options.stop = &stop;
  options.on_step = [&stop](const StepMetrics& metrics) { stop = metrics.step == 1; };
  const TrainResult result = train(options);
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(result.next_step, 2);
  EXPECT_EQ(fs::path(result.checkpoint).filename(), "step-000002");
}

TEST_F(TrainingTest, ABatchWithoutTargetsIsSkippedAndCounted) {
  std::vector<std::vector<std::int64_t>> documents(11, {256});
  documents.push_back({97, 98, 99, 256});
  write_documents(documents);
  TrainConfig c = config();
  c.training.sequences_per_step = 1;
  c.training.steps = 12;
  c.training.max_skipped_steps = 2;  // of values that are not finite: these do not count
  const auto steps = run(c);
  ASSERT_EQ(steps.size(), 12U);
  EXPECT_EQ(std::count_if(steps.begin(), steps.end(), [](const auto& m) { return m.skipped; }), 11);
  const auto lines = metrics_lines();
  Tokens total = 0;
  for (const Json& line : lines) {
    const bool skipped = line["skipped"].get<bool>();
    if (!skipped) total += line["tokens"].get<Tokens>();
    EXPECT_EQ(line["loss"].is_null(), skipped);
    EXPECT_EQ(line["grad_norm"].is_null(), skipped);
    EXPECT_EQ(line["tokens_per_second"].get<double>() == 0.0, skipped);
    EXPECT_EQ(line["flops_per_second"].get<double>() == 0.0, skipped);
    EXPECT_EQ(line["mfu"].get<double>() == 0.0, skipped);
    EXPECT_EQ(line["tokens_total"].get<Tokens>(), total);
  }
}

TEST_F(TrainingTest, LongDocumentsAreCutAndCounted) {
  TrainConfig c = config();
  c.data.max_sequence_length = 50;
  int truncated = 0;
  for (const StepMetrics& step : run(c)) {
    truncated += step.truncated_sequences;
    EXPECT_EQ(step.truncated_tokens > 0, step.truncated_sequences > 0);
  }
  EXPECT_GT(truncated, 0);
}

TEST_F(TrainingTest, EvaluationIsTheSameOverAnyStages) {
  const TrainConfig c = config();
  run(c);
  EvalOptions options;
  options.checkpoint = c.checkpoint.path;
  const EvalResult two = evaluate(options);
  options.stages = 1;
  const EvalResult one = evaluate(options);
  EXPECT_NEAR(two.loss, one.loss, 1e-5 * one.loss);
  EXPECT_NEAR(one.perplexity, std::exp(one.loss), 1e-9 * one.perplexity);
  EXPECT_EQ(one.sequences, 40);
  options.sequences = 5;
  EXPECT_EQ(evaluate(options).sequences, 5);
}

TEST_F(TrainingTest, EvaluationTakesOtherSettingsAndLeavesOutEmptyDocuments) {
  const TrainConfig c = config();
  run(c);
  IndexedDatasetWriter writer(folder_ + "/held-out", token_dtype_for(257));
  for (const int length : {30, 0, 0, 20, 1, 0}) {
    writer.append(std::vector<std::int64_t>(static_cast<std::size_t>(length), 'a'));
    writer.end_document();
  }
  writer.finish();
  EvalOptions options;
  options.checkpoint = c.checkpoint.path;
  options.data = folder_ + "/held-out";
  const EvalResult result = evaluate(options);
  EXPECT_EQ(result.sequences, 3);
  EXPECT_EQ(result.tokens, 51);
  EXPECT_EQ(result.targets, 29 + 19);
  options.configure = [](TrainConfig base) {
    base.data.max_sequence_length = 10;
    return base;
  };
  EXPECT_EQ(evaluate(options).targets, 9 + 9);
}

TEST_F(TrainingTest, GenerationFollowsTheSeed) {
  TrainConfig c = config();
  c.training.steps = 30;
  c.optimizer.decay_steps = 0;
  run(c);
  GenerateOptions options;
  options.checkpoint = c.checkpoint.path;
  options.prompt = "ab";
  options.tokens = 20;
  std::string streamed;
  options.on_text = [&streamed](const std::string& piece) { streamed += piece; };
  const std::string text = generate(options);
  EXPECT_EQ(streamed, text);
  options.on_text = [](const std::string&) {};
  EXPECT_EQ(generate(options), text);
  options.temperature = 0.0;
  const std::string likeliest = generate(options);
  for (const char c2 : likeliest)
    EXPECT_THAT(std::string("abcdefghij"), HasSubstr(std::string(1, c2)));
}

TEST_F(TrainingTest, BadInputIsNamed) {
  TrainConfig c = config();
  c.data.path = folder_ + "/none";
  EXPECT_THAT(error_of([&] { run(c); }), HasSubstr("none.idx: cannot be opened"));
  c = config();
  c.parallelism.stages = 5;
  EXPECT_THAT(error_of([&] { run(c); }), HasSubstr("stages"));
  c = config();
  c.model.vocab_size = 100;
  EXPECT_THAT(error_of([&] { run(c); }), HasSubstr("expected 0 to 99; build the data"));
  c = config();
  c.data.path.clear();
  EXPECT_THAT(error_of([&] { run(c); }), HasSubstr("config: data.path: found nothing"));
  c = config();
  run(c);
  c.model.hidden_size = 64;
  EXPECT_THAT(error_of([&] { run(c, true); }),
              HasSubstr("config: model.hidden_size: found 64, expected 32"));
  c = config();
  c.training.seed = 9;
  EXPECT_THAT(error_of([&] { run(c, true); }), HasSubstr("training.seed: found 9, expected 1"));
}

}  // namespace
}  // namespace infinipipe
