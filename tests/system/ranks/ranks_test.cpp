// Commands over several processes of this machine, against the same in one.
#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/safetensors.h"
#include "infinipipe/base/json.h"
#include "system/cli_plan/program.h"
#include "system/ranks/tensors.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class RanksCommand : public testing::ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    for (int i = 0; i < 12; ++i) {
      std::string text;
      for (int line = 0; line < 2 + 9 * (i % 4); ++line) text += "abc abc " + std::to_string(i);
      write("text/" + std::to_string(i) + ".txt", text);
    }
    ASSERT_EQ(run({"data", "build", "--input", "text", "--out", "set"}).code, 0);
  }

  // Training of four layers into the folder `name`; later flags win.
  static std::vector<std::string> train(const std::string& name, int stages, int replicas,
                                        const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {"train"};
    const std::map<std::string, std::string> flags = {
        {"model.hidden_size", "32"},
        {"model.intermediate_size", "64"},
        {"model.num_hidden_layers", "4"},
        {"model.num_attention_heads", "2"},
        {"model.num_key_value_heads", "1"},
        {"model.vocab_size", "257"},
        {"model.tie_word_embeddings", "true"},
        {"data.path", "set"},
        {"data.max_sequence_length", "512"},
        {"training.steps", "3"},
        {"training.sequences_per_step", "6"},
        {"cluster.profile", "estimate"},
        {"checkpoint.path", name + "/checkpoints"},
        {"metrics.path", name + "/metrics.jsonl"},
        {"parallelism.stages", std::to_string(stages)},
        {"parallelism.data_parallel", std::to_string(replicas)}};
    for (const auto& [flag, value] : flags) {
      all.push_back("--" + flag);
      all.push_back(value);
    }
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  testing::Outcome launch(int ranks, const std::vector<std::string>& command) const {
    std::vector<std::string> all = {"launch", "-n", std::to_string(ranks), "--"};
    all.insert(all.end(), command.begin(), command.end());
    return run(all);
  }

  // The losses of the steps in a run's metrics.
  std::vector<double> losses(const std::string& name) const {
    std::vector<double> all;
    std::istringstream lines(read(name + "/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);)
      all.push_back(parse_json(line, name).at("loss").get<double>());
    return all;
  }

  // The bytes of all weights and moments of a run's newest checkpoint.
  std::map<std::string, std::vector<std::byte>> state(const std::string& name) const {
    std::string latest = read(name + "/checkpoints/latest");
    latest.pop_back();
    return testing::tensors_of(path(name + "/checkpoints/" + latest));
  }
  bool has(const std::string& name) const { return std::filesystem::exists(path(name)); }
};

TEST_F(RanksCommand, TrainAsThreadsDoToTheBit) {
  ASSERT_EQ(run(train("threads", 2, 1)).code, 0);
  const testing::Outcome outcome = launch(2, train("ranks", 2, 1));
  ASSERT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(losses("ranks"), losses("threads"));
  EXPECT_TRUE(state("ranks") == state("threads"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("[rank 1]"))) << "only the first rank speaks";
  const std::string folder = "ranks/checkpoints/step-000003/";
  EXPECT_TRUE(has(folder + "model-00001-of-00002.safetensors"));
  EXPECT_TRUE(has(folder + "optimizer-00002-of-00002.safetensors"));
  const auto index = read_safetensors_index(path(folder + "model.safetensors.index.json"));
  EXPECT_EQ(index.at("model.embed_tokens.weight"), "model-00001-of-00002.safetensors");
  EXPECT_EQ(index.at("model.norm.weight"), "model-00002-of-00002.safetensors");

  // One process and several say the same of it.
  const auto judge = [&](const std::string& name) {
    return std::vector<std::string>{"eval", "--checkpoint", name + "/checkpoints", "--json", "-"};
  };
  const auto loss = [](const testing::Outcome& judged) {
    EXPECT_EQ(judged.code, 0) << judged.error;
    return parse_json(judged.out, "eval").at("loss").get<double>();
  };
  const double alone = loss(run(judge("threads")));
  EXPECT_EQ(loss(run(judge("ranks"))), alone);
  EXPECT_EQ(loss(launch(2, judge("ranks"))), alone);
  const std::vector<std::string> speak = {
      "generate", "--checkpoint", "ranks/checkpoints", "--prompt", "abc", "--tokens", "12"};
  const testing::Outcome text = run(speak);
  EXPECT_EQ(text.code, 0) << text.error;
  EXPECT_EQ(launch(2, speak).out, text.out);
  EXPECT_EQ(run({"export", "ranks/checkpoints", "--out", "out"}).code, 0);
}

// What one layout has saved, every other one reads, and goes on to the same losses but for
// rounding.
TEST_F(RanksCommand, LoadEachOthersCheckpoints) {
  struct Layout {
    int stages;
    int replicas;
  };
  const std::vector<Layout> layouts = {{2, 1}, {4, 1}, {2, 2}, {1, 4}};
  const auto name = [](const Layout& layout) {
    return std::to_string(layout.stages) + "x" + std::to_string(layout.replicas);
  };
  const auto start = [&](const std::string& folder, const Layout& layout,
                         const std::vector<std::string>& more) {
    return launch(layout.stages * layout.replicas,
                  train(folder, layout.stages, layout.replicas, more));
  };
  ASSERT_EQ(run(train("alone", 1, 1, {"--training.steps", "4"})).code, 0);
  const std::vector<double> expected = losses("alone");
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    const std::string first = name(layouts[i]);
    const testing::Outcome saved = start(first, layouts[i], {"--training.steps", "3"});
    ASSERT_EQ(saved.code, 0) << first << ": " << saved.error;
    const Layout& next = layouts[(i + 1) % layouts.size()];
    const std::string both = first + " to " + name(next);
    const testing::Outcome resumed = start(first, next, {"--training.steps", "4", "--resume"});
    ASSERT_EQ(resumed.code, 0) << both << ": " << resumed.error;
    const std::vector<double> found = losses(first);
    ASSERT_EQ(found.size(), expected.size()) << both;
    for (std::size_t step = 0; step < found.size(); ++step)
      EXPECT_NEAR(found[step], expected[step], 2e-6 * expected[step]) << both << ", step " << step;
    const auto tensors = state(first);
    EXPECT_EQ(tensors.size(), state("alone").size()) << both;
  }
}

// What ranks that are processes are like is measured between them, all replicas at work.
TEST_F(RanksCommand, ProfileTheirOwnLinks) {
  std::vector<std::string> command = {"profile", "--seconds", "1", "--out", "ranks.json"};
  const std::vector<std::string> flags = train("run", 2, 2);
  for (std::size_t i = 1; i < flags.size(); i += 2) {
    const std::string section = flags[i].substr(2, flags[i].find('.') - 2);
    if (section == "model" || section == "data" || section == "parallelism")
      command.insert(command.end(), {flags[i], flags[i + 1]});
  }
  const testing::Outcome measured = launch(4, command);
  ASSERT_EQ(measured.code, 0) << measured.error;
  const Json with = parse_json(read("ranks.json"), "ranks.json").at("measured_with");
  EXPECT_EQ(with.at("processes"), true);
  EXPECT_EQ(with.at("replicas"), 2);
  const std::vector<std::string> given = {"--cluster.profile", "ranks.json"};
  const testing::Outcome used = launch(4, train("run", 2, 2, given));
  EXPECT_EQ(used.code, 0);
  EXPECT_THAT(used.error, Not(HasSubstr("was measured")));
  const testing::Outcome threads = run(train("threads", 2, 1, given));
  EXPECT_THAT(threads.error, HasSubstr("ranks.json: was measured with 2 replica(s) instead of 1, "
                                       "between processes instead of threads"));
}

TEST_F(RanksCommand, RefuseWhatDoesNotFit) {
  const testing::Outcome three = launch(3, train("run", 2, 1));
  EXPECT_EQ(three.code, 2);
  EXPECT_THAT(three.error, HasSubstr("config: parallelism: found 2 x 1 x 1"));
  EXPECT_THAT(three.error, HasSubstr("in 3 processes, expected 2 processes"));
  EXPECT_FALSE(has("run"));
  const testing::Outcome threads =
      launch(2, train("run", 2, 1, {"--runtime.communicator", "threads"}));
  EXPECT_EQ(threads.code, 2);
  EXPECT_THAT(threads.error, HasSubstr("found threads, but 2 processes were started"));
  expect_error(train("run", 2, 1, {"--runtime.communicator", "gloo", "-q"}), 2,
               "found gloo in a process that is alone");
}

// Two ranks that a script starts, with `second` before the program of the second one, which knows
// nothing but the command's name. What each says is in the files `first` and `other`. Returns the
// first's exit code; `meanwhile` is a command that runs beside them, with their process ids in
// pid.0 and pid.1.
class RanksByHand : public RanksCommand {
 protected:
  int start(const std::vector<std::string>& arguments, const std::string& second,
            const std::string& meanwhile = "true") const {
    write("rank.sh",
          "echo $$ > pid.$RANK\n"
          "if [ \"$RANK\" = 0 ]; then exec \"$PROGRAM\" \"$@\"; fi\n" +
              second + "\ncd / && exec \"$PROGRAM\" train\n");
    std::string quoted;
    for (const std::string& argument : arguments) quoted += " '" + argument + "'";
    // The variables of torchrun, whose run id is the same for all runs unless its user gives one.
    const std::string command =
        "cd '" + folder_.string() +
        "' && export PROGRAM='" INFINIPIPE_BINARY
        "' WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 TORCHELASTIC_RUN_ID=none MASTER_ADDR=127.0.0.1"
        " MASTER_PORT=" +
        std::to_string(20000 + getpid() % 20000) +
        "\n(RANK=1 LOCAL_RANK=1 sh rank.sh >other 2>&1 &)\n(" + meanwhile +
        ") &\nRANK=0 LOCAL_RANK=0 exec sh rank.sh" + quoted + " >first 2>&1";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
};

// A data set and a configuration that only the first rank has are enough.
TEST_F(RanksByHand, AreToldByTheFirst) {
  EXPECT_EQ(start(train("run", 2, 1), "true"), 0) << read("first") << read("other");
  EXPECT_EQ(losses("run").size(), 3U);
  EXPECT_EQ(read("other"), "") << "only the first rank speaks";
  const std::string lines = read("run/metrics.jsonl");
  const Json first = parse_json(lines.substr(0, lines.find('\n')), "metrics");
  EXPECT_EQ(first.at("run_id").get<std::string>().size(), 16U) << "an id of this run alone";
}

TEST_F(RanksByHand, AStopSignalAtAnyOfThemEndsWithACheckpoint) {
  const std::string third_step =
      "while [ $(cat run/metrics.jsonl 2>/dev/null | wc -l) -lt 3 ]; do sleep 0.05; done; ";
  const int code = start(train("run", 2, 1, {"--training.steps", "100000"}), "true",
                         third_step + "kill -TERM $(cat pid.1)");
  EXPECT_EQ(code, 0) << read("first") << read("other");
  EXPECT_THAT(read("first"), HasSubstr("by request"));
  EXPECT_FALSE(state("run").empty());
}

// A disk that is full for one of them is an answer, not a death.
TEST_F(RanksByHand, SayWhoseDiskIsFull) {
  const int code = start(train("run", 2, 1), "ulimit -f 8");
  EXPECT_EQ(code, 1);
  EXPECT_THAT(read("first"),
              HasSubstr("the checkpoint could not be saved: rank 1 (stage 1, host "));
  EXPECT_TRUE(std::filesystem::is_empty(path("run/checkpoints")) || !has("run/checkpoints/latest"));
  for (const auto& entry : std::filesystem::directory_iterator(path("run/checkpoints")))
    EXPECT_EQ(entry.path().filename(), "lock") << "nothing half-written is left";
}

TEST_F(RanksByHand, RefuseAFolderThatIsNotShared) {
  if (std::system("unshare -m true 2>/dev/null") != 0) GTEST_SKIP() << "needs mounts of its own";
  std::filesystem::create_directories(path("run"));
  const int code = start(train("run", 2, 1),
                         "if [ -z \"$OWN\" ]; then export OWN=1; exec unshare -m sh rank.sh; fi\n"
                         "mount -t tmpfs none run || exit 9");
  EXPECT_EQ(code, 2);
  EXPECT_THAT(read("first"), HasSubstr("is not the same folder for rank 1 (stage 1, host "));
}

}  // namespace
}  // namespace infinipipe
