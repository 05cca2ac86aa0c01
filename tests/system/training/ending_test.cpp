// Whatever ends a run, what was trained is saved first; and what can be known before it begins is
// said before it begins.
#include <gmock/gmock.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "support/cache_home.h"
#include "system/training/fixture.h"
#include "trainer/checkpoint.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

class EndingTest : public TrainingTest {
 protected:
  std::string weights(int step) const {
    return read_file(folder_ + "/checkpoints/step-00000" + std::to_string(step) +
                     "/model.safetensors");
  }
  // The weights after so many steps of an undisturbed run.
  std::string undisturbed(int steps) const {
    TrainConfig c = config();
    c.training.steps = steps;
    c.checkpoint.path = folder_ + "/undisturbed";
    c.metrics.path.clear();
    run(c);
    return read_file(c.checkpoint.path + "/step-00000" + std::to_string(steps) +
                     "/model.safetensors");
  }
};

TEST_F(EndingTest, AnExceptionOnAStageSavesTheStepsBeforeIt) {
  TrainOptions options = options_of(config());
  options.before_instruction = [](int step, int stage, const std::string& instruction) {
    if (step == 3 && stage == 1 && !instruction.starts_with("F"))
      throw std::runtime_error("a planted fault");
  };
  const Said said = listen(options);
  EXPECT_THAT(said.error, AllOf(HasSubstr("step 3: stage 1, "), HasSubstr("a planted fault"),
                                HasSubstr("the steps before it are saved in "),
                                HasSubstr("checkpoints/step-000003")));
  EXPECT_EQ(find_checkpoint(config().checkpoint.path).next_step, 3);
  EXPECT_TRUE(weights(3) == undisturbed(3));
  EXPECT_EQ(metrics_lines().size(), 3U);
}

TEST_F(EndingTest, AFaultInTheFirstStepOrWithoutAFolderSaysWhatIsLost) {
  TrainOptions options = options_of(config());
  options.before_instruction = [](int, int, const std::string&) {
    throw std::runtime_error("a planted fault");
  };
  EXPECT_THAT(listen(options).error, HasSubstr("nothing was trained"));
  EXPECT_FALSE(has_checkpoints(config().checkpoint.path));
  options.before_instruction = [](int step, int, const std::string&) {
    if (step == 2) throw std::runtime_error("a planted fault");
  };
  options.config.checkpoint.path.clear();
  EXPECT_THAT(listen(options).error, HasSubstr("are lost: checkpoint.path is not set"));
}

// A document that changes under the run: what was trained before it is drawn is saved.
TEST_F(EndingTest, ABadDocumentLaterSavesTheStepsBeforeIt) {
  TrainConfig c = config();
  TrainOptions options = options_of(c);
  options.on_step = [this](const StepMetrics& metrics) {
    if (metrics.step != 2) return;
    std::fstream file(folder_ + "/data.bin", std::ios::in | std::ios::out | std::ios::binary);
    const std::string outside(static_cast<std::size_t>(fs::file_size(folder_ + "/data.bin")),
                              '\x7f');
    file << outside;
  };
  const Said said = listen(options);
  EXPECT_THAT(said.error, AllOf(HasSubstr("step 3: "), HasSubstr("was changed while it was in use"),
                                HasSubstr("are saved in ")));
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 3);
}

TEST_F(EndingTest, AMetricsFileThatCannotBeWrittenIsWarnedOfOnce) {
  TrainConfig c = config();
  c.metrics.path = "/dev/full";
  const Said said = listen(options_of(c));
  EXPECT_EQ(said.error, "");
  EXPECT_EQ(said.result.steps_done, 6);
  ASSERT_EQ(said.warnings.size(), 2U);
  EXPECT_THAT(said.warnings[0], AllOf(HasSubstr("/dev/full: cannot be written: No space left"),
                                      HasSubstr("training goes on")));
  EXPECT_THAT(said.warnings[1], HasSubstr("/dev/full: 6 lines were not written"));
  EXPECT_TRUE(weights(6) == undisturbed(6));
}

TEST_F(EndingTest, TracesAndPlansThatCannotBeWrittenAreWarnedOfOnce) {
  TrainOptions options = options_of(config());
  options.trace_dir = folder_ + "/traces";
  options.plan_dir = folder_ + "/plans";
  options.on_step = [&options](const StepMetrics& metrics) {
    if (metrics.step == 1) {
      for (const std::string& folder : {options.trace_dir, options.plan_dir}) {
        fs::remove_all(folder);
        write_file(folder, "in the way");
      }
    }
  };
  const Said said = listen(options);
  EXPECT_EQ(said.error, "");
  EXPECT_EQ(said.result.steps_done, 6);
  EXPECT_EQ(said.warnings.size(), 1U);
  EXPECT_THAT(said.warnings, Contains(HasSubstr("training goes on")));
}

// Said before the first step, and before anything is measured: the cache stays empty.
TEST_F(EndingTest, WhatCanBeKnownIsSaidFirst) {
  const CacheHome cache(folder_ + "/cache");
  TrainConfig c = config();
  c.cluster.profile.clear();  // this machine's, which nobody measured yet
  std::vector<std::vector<std::int64_t>> documents(19, std::vector<std::int64_t>(50, 97));
  documents.emplace_back(60'000, 98);
  write_documents(documents);
  c.training.sequences_per_step = 1;
  c.training.steps = 40;
  c.data.max_sequence_length = 65'536;
  const auto refused = [&](const std::function<void(TrainConfig&)>& change,
                           const std::string& message) {
    TrainConfig changed = c;
    change(changed);
    const Said said = listen(options_of(changed));
    EXPECT_THAT(said.error, HasSubstr(message));
    EXPECT_EQ(said.result.steps_done, 0);
    EXPECT_FALSE(fs::exists(folder_ + "/cache")) << message;
    EXPECT_FALSE(fs::exists(changed.metrics.path)) << message;
  };
  refused([](TrainConfig& x) { x.planner.name = "eppp"; }, "unknown planner 'eppp'");
  refused([](TrainConfig& x) { x.data.tokenizer = "none.model"; }, "none.model");
  refused([](TrainConfig& x) { x.model.vocab_size = 98; }, "is 98, expected 0 to 97");
  refused([](TrainConfig& x) { x.memory.bytes_per_stage = 10e6; },
          "inputs for a document of 60,000 tokens");
  refused([](TrainConfig& x) { x.cluster.profile = "none.json"; }, "none.json: cannot be opened");
  refused([](TrainConfig& x) { x.data.max_sequence_length = 1; }, "no document that will be drawn");
  refused([](TrainConfig& x) { x.metrics.path = "/proc/none/metrics.jsonl"; }, "/proc/none");
  refused([](TrainConfig& x) { x.checkpoint.path = "/proc/none"; }, "/proc/none");

  // With a profile its planner says whether the longest document fits.
  c.cluster.profile = "estimate";
  c.memory.bytes_per_stage = 24e6;
  const Said said = listen(options_of(c));
  EXPECT_THAT(said.error, AllOf(HasSubstr("needs"), HasSubstr("60,000 tokens"),
                                HasSubstr("nothing was trained")));
  c.training.steps = 1;  // does not draw it
  c.training.seed = 3;
  EXPECT_EQ(listen(options_of(c)).error, "");
}

TEST_F(EndingTest, AModelLargerThanTheMachineIsSaidFirst) {
  TrainConfig c = config();
  c.model.hidden_size = 1 << 16;  // 111 TB of states
  c.model.intermediate_size = 1 << 18;
  c.model.num_hidden_layers = 100;
  c.checkpoint.path.clear();  // else the disk is too small first
  EXPECT_THAT(listen(options_of(c)).error, AllOf(HasSubstr("a stage's share of this machine is "),
                                                 HasSubstr("even if every layer is recomputed")));
  EXPECT_FALSE(fs::exists(c.metrics.path));
}

TEST_F(EndingTest, MetricsOntoAFileThatTheRunReadsAreRefused) {
  TrainConfig c = config();
  run(c);
  const std::string before = read_file(folder_ + "/data.bin");
  fs::create_symlink("data.bin", folder_ + "/other-name");
  c.metrics.path = folder_ + "/other-name";
  c.training.steps = 8;
  EXPECT_THAT(listen(options_of(c, /*resume=*/true)).error,
              AllOf(HasSubstr("metrics.path"), HasSubstr("data.path")));
  EXPECT_EQ(read_file(folder_ + "/data.bin"), before);
}

TEST_F(EndingTest, ADiskWithoutRoomIsSaidFirst) {
  TrainConfig c = config();
  set_config(c, "model.preset", "70b", "test");  // a checkpoint of 828 GB
  c.parallelism.stages = 1;
  EXPECT_THAT(listen(options_of(c)).error, HasSubstr("a checkpoint takes "));
}

// Nobody can go on then: the caller ends the process, here by letting the stage go again.
TEST_F(EndingTest, AStageThatStandsStillIsNamed) {
  TrainOptions options = options_of(config());
  options.config.runtime.stalled_after_seconds = 4.0;
  std::promise<std::string> said;
  std::shared_future<std::string> what = said.get_future().share();
  options.on_stalled = [&said](const std::string& line) { said.set_value(line); };
  options.before_instruction = [what](int step, int stage, const std::string&) {
    if (step == 2 && stage == 1) what.wait();
  };
  EXPECT_EQ(listen(options).result.steps_done, 6);
  EXPECT_THAT(what.get(), AllOf(HasSubstr("step 2: stage 1, F0.0: has run for more than 4.00 s"),
                                HasSubstr("runtime.stalled_after_seconds")));
}

TEST_F(EndingTest, AStopNamesTheStep) {
  TrainOptions options = options_of(config());
  std::atomic<bool> stop{false};
  options.stop = &stop;
  options.on_step = [&stop](const StepMetrics& metrics) { stop = metrics.step == 1; };
  EXPECT_THAT(listen(options).log, Contains("stopped at step 2 of 6, by request"));
  options = options_of(config());
  options.config.training.max_minutes = 1e-9;
  EXPECT_THAT(listen(options).log, Contains("stopped at step 1 of 6, at training.max_minutes"));
}

// The first resume of a job finds nothing, the next ones take its configuration.
TEST_F(EndingTest, ResumeBeginsWhereThereIsNothingAndKnowsTheConfiguration) {
  TrainConfig c = config();
  const Said first = listen(options_of(c, true));
  EXPECT_EQ(first.result.steps_done, 6) << first.error;
  EXPECT_THAT(first.log, Contains(HasSubstr("holds no checkpoint yet: the run begins")));

  TrainOptions options;
  options.resume = true;
  options.config.checkpoint.path = c.checkpoint.path;  // all else is the checkpoint's
  options.configure = [](TrainConfig base) {
    base.training.steps = 8;
    base.optimizer.lr = 0.005;
    return base;
  };
  const Said second = listen(options);
  EXPECT_EQ(second.result.steps_done, 2) << second.error;
  EXPECT_THAT(second.log, Contains(HasSubstr("other than in the checkpoint: training.steps 8 (was "
                                             "6), optimizer.lr 0.005 (was 0.01)")));
  EXPECT_EQ(metrics_lines().size(), 8U);
}

TEST_F(EndingTest, OtherDataAndTokenizersAreSaid) {
  TrainConfig c = config();
  run(c);
  write_corpus(40, 2);
  c.training.steps = 7;
  const Said said = listen(options_of(c, true));
  EXPECT_EQ(said.result.steps_done, 1) << said.error;
  ASSERT_EQ(said.warnings.size(), 1U);
  EXPECT_THAT(said.warnings[0], HasSubstr("is another data set than"));
  c.training.steps = 8;
  EXPECT_TRUE(listen(options_of(c, true)).warnings.empty()) << "the checkpoint is of it now";
}

}  // namespace
}  // namespace infinipipe
