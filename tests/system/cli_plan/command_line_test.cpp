// What the program does with its arguments, files of lengths, configurations and profiles.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "data/lengths.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/config.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/cost/profile.h"
#include "planner/planners.h"
#include "support/profiles.h"
#include "system/cli_plan/program.h"

namespace infinipipe {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CommandLine : public testing::ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    write("lengths.txt", "3000\n200\n100\n1700\n50\n");
  }
  bool has_torch() const {
    return run({"--help"}).out.find("Not in this build") == std::string::npos;
  }
  Plan plan(std::vector<std::string> flags) const {
    flags.insert(flags.begin(), {"plan", "--lengths", "lengths.txt", "--out", "plan.json"});
    const Outcome outcome = run(flags);
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    return read_plan(path("plan.json"));
  }
  using Outcome = testing::Outcome;
};

TEST_F(CommandLine, HelpIsThereForEveryCommand) {
  const Outcome top = run({"--help"});
  EXPECT_EQ(top.code, 0);
  EXPECT_EQ(top.error, "");
  for (const char* command :
       {"train", "plan", "validate", "simulate", "data build", "data stats", "data lengths"}) {
    EXPECT_THAT(top.out, HasSubstr(std::string("\n  ") + command + " "));
  }
  EXPECT_EQ(run({"-h"}).out, top.out);
  EXPECT_EQ(run({"help"}).out, top.out);
  EXPECT_THAT(run({"data", "--help"}).out, HasSubstr("data build"));
  const std::vector<std::vector<std::string>> commands = {{"plan"},          {"validate"},
                                                          {"simulate"},      {"data", "build"},
                                                          {"data", "stats"}, {"data", "lengths"}};
  for (std::vector<std::string> command : commands) {
    command.emplace_back("--help");
    const Outcome outcome = run(command);
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    EXPECT_THAT(outcome.out, HasSubstr("Usage: infinipipe " + command[0]));
    EXPECT_THAT(outcome.out, HasSubstr("\nEverywhere:\n"));
    for (std::size_t begin = 0; begin < outcome.out.size();) {
      const std::size_t end = outcome.out.find('\n', begin);
      EXPECT_LE(end - begin, 100U) << outcome.out.substr(begin, end - begin);
      begin = end + 1;
    }
  }
  // Help wins over what is wrong with the rest.
  EXPECT_EQ(run({"plan", "--batch", "x", "--help"}).code, 0);
  EXPECT_EQ(run({"--version"}).out.rfind("infinipipe ", 0), 0U);
}

TEST_F(CommandLine, HelpShowsEveryKeyOfItsSections) {
  const std::string help = run({"plan", "--help"}).out;
  for (const ConfigKey& key : config_keys()) {
    const bool shown = help.find("\n  --" + key.name + " ") != std::string::npos;
    const std::string section = key.section();
    const bool expected = section != "data" && section != "optimizer" && section != "runtime" &&
                          section != "checkpoint" && section != "metrics" && section != "eval";
    EXPECT_EQ(shown, expected) << key.name;
  }
}

TEST_F(CommandLine, HelpListsEveryPlanner) {
  const std::string list = testing::unwrapped(run({"plan", "--help"}).out, "Names for --planner:");
  for (const PlannerRow& row : planners()) {
    EXPECT_THAT(list, HasSubstr(" " + std::string(row.name) + " " + row.line + " "));
  }
}

TEST_F(CommandLine, WrongUseIsNamed) {
  expect_error({}, 2, "command line: found no command, expected one of ");
  expect_error({"trian"}, 2, "command line: unknown command 'trian', did you mean train?");
  expect_error({"xxxxxxxxxx", "--config", "a"}, 2, "unknown command 'xxxxxxxxxx', expected one of");
  expect_error({"data"}, 2, "found no command after data, expected one of data build, data stats");
  expect_error({"data", "bild"}, 2, "unknown command 'data bild', did you mean data build?");
  expect_error({"--verison"}, 2, "command line: --verison: unknown flag");
  expect_error({"plan", "--lenghts", "x"}, 2,
               "command line: --lenghts: unknown flag, did you mean --lengths?");
  expect_error({"plan", "--lenghts=x"}, 2, "--lenghts: unknown flag, did you mean --lengths?");
  expect_error({"plan", "-x"}, 2, "command line: -x: unknown flag");
  expect_error({"plan", "--training.stepz", "3"}, 2, "did you mean --training.steps?");
  expect_error({"plan", "--steps", "3"}, 2, "did you mean --training.steps?");
  expect_error({"plan", "--pipeline-model-parallel-size", "3"}, 2,
               "did you mean --parallelism.stages?");
  expect_error({"plan"}, 2, "command line: --lengths: found nothing, expected FILE");
  expect_error({"plan", "--lengths"}, 2,
               "command line: --lengths: found nothing, expected a value");
  expect_error({"plan", "--lengths", "lengths.txt"}, 2, "neither --out nor --explain");
  expect_error({"plan", "lengths.txt"}, 2, "unexpected argument 'lengths.txt'");
  expect_error({"plan", "--lengths", "lengths.txt", "--explain", "--batch", "0"}, 2,
               "command line: --batch: found '0', expected a whole number of at least 1");
  expect_error({"plan", "--lengths", "lengths.txt", "--explain", "--batch", "99999999999"}, 2,
               "--batch: found '99999999999'");
  expect_error({"plan", "--lengths", "lengths.txt", "--explain", "--step", "-1"}, 2,
               "--step: found '-1'");
  for (const char* seed : {"18446744073709551615", "18446744073709551616", "-1"}) {
    expect_error({"plan", "--lengths", "lengths.txt", "--explain", "--seed", seed}, 2,
                 "--seed: found '" + std::string(seed) +
                     "', expected a whole number of at least 0 and at most 9223372036854775807");
  }
  expect_error({"compare", "--lengths", "\xff.txt"}, 2,
               "command line: --lengths: found text that is not UTF-8");
  expect_error({"validate"}, 2, "command line: PLAN: found nothing");
  expect_error({"validate", "a", "b"}, 2, "unexpected argument 'b'");
  expect_error({"simulate", "plan.json"}, 2, "--profile: found nothing, expected FILE");
  expect_error({"data", "build", "--input", "x"}, 2, "--out: found nothing, expected PREFIX");
  expect_error({"data", "build", "--input", "x", "--out", "y", "--format", "jsnl"}, 2,
               "--format: found 'jsnl', expected auto|text|jsonl; did you mean jsonl?");
}

TEST_F(CommandLine, CommandsThatNeedLibTorchSaySoWithoutIt) {
  if (has_torch()) GTEST_SKIP() << "this build has LibTorch";
  for (const char* command : {"train", "eval", "generate"}) {
    expect_error({command, "--any", "flag", "more"}, 2,
                 std::string(command) +
                     ": this build has no LibTorch, expected a build with "
                     "-DINFINIPIPE_TORCH=ON");
  }
}

TEST_F(CommandLine, BadLengthsAreRefused) {
  const auto refuse = [&](const std::string& text, const std::string& message) {
    write("bad.txt", text);
    expect_error({"plan", "--lengths", "bad.txt", "--out", "plan.json"}, 2, message);
    EXPECT_FALSE(std::filesystem::exists(path("plan.json")));
  };
  expect_error({"plan", "--lengths", "none.txt", "--out", "plan.json"}, 2, "none.txt: ");
  expect_error({"plan", "--lengths", ".", "--out", "plan.json"}, 2, ".: ");
  refuse("", "bad.txt");
  refuse("100\nabc\n", "bad.txt:2");
  refuse("100\n0\n", "bad.txt:2");
  refuse("100\n-5\n", "bad.txt:2");
  refuse("100\n1.5\n", "bad.txt:2");
  refuse("100\n99999999999999999999\n", "bad.txt:2");
  refuse(std::string("100\n\0\n", 6), "bad.txt:2");
}

TEST_F(CommandLine, BadConfigurationsAreRefused) {
  const auto refuse = [&](const std::string& text, const std::string& message) {
    write("config.toml", text);
    expect_error({"plan", "--lengths", "lengths.txt", "--explain", "--config", "config.toml"}, 2,
                 message);
  };
  expect_error({"plan", "--lengths", "lengths.txt", "--explain", "--config", "none.toml"}, 2,
               "none.toml: ");
  refuse("[training]\nstepz = 1\n",
         "error: config.toml: training.stepz: unknown key, did you mean training.steps?");
  refuse("[planer]\n", "config.toml: [planer]: unknown section, did you mean [planner]?");
  refuse("[training]\nsteps = \"x\"\n", "training.steps: found a string, expected an integer");
  refuse("[training\n", "config.toml: line 1, column");
  refuse("[parallelism]\nstages = 5\n",
         "config.toml: parallelism.stages: found 5 stages for 4 layers");
  refuse("[planner]\nslices = 0\n",
         "config.toml: planner.slices: found 0, expected at least 1 and "
         "at most 65536");
  refuse("[model]\nrope_theta = nan\n",
         "config.toml: model.rope_theta: found 'nan', expected a finite number");
  refuse("[metrics]\nrun_name = \"a\\u0000b\"\n",
         "config.toml: metrics.run_name: found text with a NUL character");
  refuse("[optimizer]\nlr = -1\n", "config.toml: optimizer.lr: found -1");
  refuse("[training]\ndtype = \"float23\"\n", "did you mean float32?");
  refuse("[model]\npreset = \"7bb\"\n", "model.preset: found '7bb'");
  refuse("[model]\nnum_key_value_heads = 3\n", "expected a multiple of num_key_value_heads");

  const auto refuse_flag = [&](const std::string& flag, const std::string& value,
                               const std::string& message) {
    expect_error({"plan", "--lengths", "lengths.txt", "--explain", flag, value}, 2, message);
  };
  refuse_flag("--training.steps", "many",
              "command line: training.steps: found 'many', expected a whole number");
  refuse_flag("--planner.slices", "0", "command line: planner.slices: found 0");
  refuse_flag("--training.steps", "0", "command line: training.steps: found 0");
  refuse_flag("--model.rope_theta", "nan",
              "command line: model.rope_theta: found 'nan', expected a finite number");
  refuse_flag("--checkpoint.path", "ck\xff",
              "command line: checkpoint.path: found text that is not UTF-8");
  refuse_flag("--parallelism.layers_per_stage", "1,2", "found 2 numbers, expected one per stage");
  refuse_flag("--planner", "ep", "unknown planner 'ep'");
  refuse_flag("--planner.name", "nonsense", "unknown planner 'nonsense'");
}

TEST_F(CommandLine, BadProfilesAreRefused) {
  const Json good = profile_to_json(estimated_profile(ModelSpec{}, Dtype::kFloat32));
  const auto refuse = [&](const std::string& text, const std::string& message) {
    write("profile.json", text);
    expect_error(
        {"plan", "--lengths", "lengths.txt", "--explain", "--cluster.profile", "profile.json"}, 2,
        message);
  };
  expect_error({"plan", "--lengths", "lengths.txt", "--explain", "--cluster.profile", "none.json"},
               2, "none.json: ");
  refuse("", "profile.json: not JSON");
  refuse("{\"format\": \"infinipipe.plan\", \"version\": 1}", "profile.json: format: found");
  refuse("{\"a\": 1, \"a\": 2}", "key \"a\" stands twice");
  refuse(std::string(100, '['), "profile.json");
  refuse("{\"format\": \"infinipipe.profile\", \"version\": 1}", "profile.json: ");
  Json bad = good;
  bad["forward"]["seconds_per_token"] = -1;
  refuse(bad.dump(), "profile.json: forward.seconds_per_token: found -1");
  bad = good;
  bad["version"] = 9;
  refuse(bad.dump(), "profile.json: version: found 9");
}

TEST_F(CommandLine, WhatCannotBePlannedIsARefusedRun) {
  expect_error(
      {"plan", "--lengths", "lengths.txt", "--explain", "--memory.bytes_per_stage", "1000"}, 1,
      "needs");
  expect_error({"plan", "--lengths", "lengths.txt", "--out", "no/such/folder/plan.json"}, 1,
               "no/such/folder/plan.json");
}

TEST_F(CommandLine, AutoChoosesTheParallelism) {
  const std::vector<std::string> base = {
      "plan", "--lengths", "lengths.txt", "--auto", "--model.num_hidden_layers", "4"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return more;
  };
  expect_error(base, 2, "cluster.devices: not given, expected how many devices --auto may use");
  expect_error(with({"--cluster.devices", "2", "--parallelism.stages", "2"}), 2,
               "command line: --parallelism.stages: found it beside --auto");
  expect_error(with({"--cluster.devices", "2", "--batches", "2"}), 2,
               "command line: --batches: 2 without --batch");
  const Outcome table = run(with({"--cluster.devices", "4"}));
  EXPECT_EQ(table.code, 0) << table.error;
  EXPECT_THAT(table.out, HasSubstr("devices: 4"));
  EXPECT_THAT(table.out, HasSubstr("\nchosen: "));
  EXPECT_THAT(table.out, HasSubstr("fastest"));
  EXPECT_THAT(table.out, HasSubstr("4 x 1 x 1"));
  EXPECT_EQ(run(with({"--cluster.devices", "4"})).out, table.out);

  const Outcome written = run(with({"--cluster.devices", "4", "--out", "plan.json"}));
  EXPECT_EQ(written.code, 0) << written.error;
  const Plan plan = read_plan(path("plan.json"));
  const Parallelism& p = plan.parallelism;
  EXPECT_EQ(p.stages * p.sequence_parallel * p.data_parallel, 4);
  EXPECT_THAT(table.out, HasSubstr("chosen: " + std::to_string(p.stages) + " stage"));
  EXPECT_FALSE(validate(plan).has_value());

  const Outcome sampled =
      run(with({"--cluster.devices", "2", "--batch", "3", "--batches", "2", "-q"}));
  EXPECT_EQ(sampled.code, 0) << sampled.error;
  EXPECT_THAT(sampled.out, HasSubstr("sample: 2 steps"));

  const Outcome none = run(with({"--cluster.devices", "2", "--memory.bytes_per_stage", "1000"}));
  EXPECT_EQ(none.code, 1);
  EXPECT_THAT(none.out, HasSubstr("chosen: none"));
  EXPECT_THAT(none.error, HasSubstr("no layout of 2 devices can run the sample"));
}

TEST_F(CommandLine, AutoQuotesTheLayoutThatComesNearest) {
  const Outcome none = run({"plan", "--lengths", "lengths.txt", "--auto", "--cluster.devices", "2",
                            "--model.num_hidden_layers", "4", "--memory.bytes_per_stage", "1e6"});
  EXPECT_EQ(none.code, 1);
  EXPECT_THAT(none.error, HasSubstr("x 1 x 1 comes nearest, "));
  EXPECT_THAT(none.error, HasSubstr(" are missing: plan: stage "));
}

// Sizes that were left out are the profile's; what contradicts it is refused with both values.
TEST_F(CommandLine, TheModelIsTheProfiles) {
  const std::string profile = testing::profile_path("llama-30b-a800.json");
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {
        "plan",  "--lengths", "lengths.txt", "--cluster.profile",
        profile, "--out",     "plan.json",   "--parallelism.stages",
        "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  const Outcome silent = run(with({"--parallelism.sequence_parallel", "4"}));
  EXPECT_EQ(silent.code, 0) << silent.error;
  EXPECT_EQ(silent.out.find("assumed"), std::string::npos) << silent.out;
  EXPECT_EQ(read_plan(path("plan.json")).layer_count(), 60);
  expect_error(with({"--model.num_hidden_layers", "32"}), 2,
               "model.num_hidden_layers: found 32, expected 60, which the figures of " + profile +
                   " are for; leave model.num_hidden_layers out");
  expect_error(with({"--model.preset", "7b"}), 2, "model.num_hidden_layers: found 32, expected 60");
  expect_error(with({"--model.vocab_size", "32000"}), 2, "model.vocab_size: found 32000");
  expect_error(with({"--model.num_hidden_layers", "0"}), 2, "found 0");
  // A preset's vocabulary is not the user's word.
  const Outcome preset =
      run(with({"--model.preset", "30b", "--parallelism.sequence_parallel", "8"}));
  EXPECT_EQ(preset.code, 0) << preset.error;
  EXPECT_THAT(preset.out, HasSubstr("heads uneven: 7 or 6 a device"));
  expect_error(
      with({"--parallelism.sequence_parallel", "64"}), 2,
      "parallelism.sequence_parallel: 64 devices cannot share 52 attention heads, expected "
      "one of 1 to 52;");
  expect_error({"compare", "--lengths", "lengths.txt", "--cluster.profile", profile,
                "--cluster.devices", "8", "--model.num_hidden_layers", "32"},
               2, "model.num_hidden_layers: found 32, expected 60");
  // A plan of other layers is not this profile's.
  Json wrong = read_json_file(profile);
  wrong["model"]["num_hidden_layers"] = 32;
  write("other.json", wrong.dump());
  expect_error({"simulate", "plan.json", "--profile", "other.json"}, 2,
               "plan: found 60 layers, expected the 32");
}

TEST_F(CommandLine, LayersAreNeverAssumedWithoutAWord) {
  Json profile = read_json_file(testing::profile_path("llama-7b-a800.json"));
  profile.erase("model");
  write("silent.json", profile.dump());
  const std::vector<std::string> base = {"plan",      "--lengths",         "lengths.txt",
                                         "--explain", "--cluster.profile", "silent.json"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return run(more).out;
  };
  EXPECT_THAT(with({}), HasSubstr("model.num_hidden_layers was not given, and silent.json does not "
                                  "say it: 4 layers are assumed"));
  EXPECT_EQ(with({"--model.num_hidden_layers", "32"}).find("assumed"), std::string::npos);
  EXPECT_EQ(with({"--model.preset", "7b"}).find("assumed"), std::string::npos);
  write("config.toml", "[model]\nnum_hidden_layers = 6\n");
  EXPECT_EQ(with({"--config", "config.toml"}).find("assumed"), std::string::npos);
  // Heads that only the user names count.
  EXPECT_THAT(with({"--model.num_hidden_layers", "32", "--model.num_attention_heads", "8", "--auto",
                    "--cluster.devices", "16"}),
              HasSubstr("1 x 16 x 1: 16 devices cannot share 8 attention heads"));
}

TEST_F(CommandLine, APlanHoldsWhatItsFlagsSay) {
  write("config.toml",
        "[model]\nnum_hidden_layers = 6\n[parallelism]\nstages = 3\n[planner]\nslices = 3\n");
  Plan plan = this->plan({"--config", "config.toml"});
  EXPECT_EQ(plan.sequences, (std::vector<Tokens>{3000, 200, 100, 1700, 50}));
  EXPECT_EQ(plan.stage_count(), 3);
  EXPECT_EQ(plan.layer_count(), 6);
  EXPECT_EQ(plan.planner.slices, 3);
  EXPECT_TRUE(plan.predicted.has_value());
  // Flags win over the file, whatever their order.
  plan = this->plan({"--parallelism.stages", "2", "--planner.slices=2", "--config", "config.toml",
                     "--parallelism.layers_per_stage", "2,4", "--step", "5"});
  EXPECT_EQ(plan.stages, (std::vector<LayerRange>{{0, 2}, {2, 6}}));
  EXPECT_EQ(plan.planner.slices, 2);
  EXPECT_EQ(plan.step, 5);
  // A preset first, then the keys.
  plan = this->plan({"--model.num_hidden_layers", "10", "--model.preset", "7b"});
  EXPECT_EQ(plan.layer_count(), 10);
  plan = this->plan({"--data.max_sequence_length", "1000"});
  EXPECT_EQ(plan.sequences, (std::vector<Tokens>{1000, 200, 100, 1000, 50}));
  plan = this->plan({"--planner", "1f1b"});
  EXPECT_EQ(plan.planner.name, "1f1b");
  plan = this->plan({"--evaluation", "--parallelism.stages", "2"});
  EXPECT_TRUE(plan.forward_only());
  EXPECT_FALSE(validate(plan).has_value());
}

TEST_F(CommandLine, ABatchIsSampledAsInTraining) {
  std::string text;
  std::vector<Tokens> lengths;
  for (int i = 1; i <= 100; ++i) {
    lengths.push_back(10 * i);
    text += std::to_string(10 * i) + "\n";
  }
  write("lengths.txt", text);
  const Plan plan = this->plan({"--batch", "8", "--step", "3", "--seed", "7"});
  EXPECT_EQ(plan.sequences, sample_lengths(lengths, 8, 3, 7));
  EXPECT_EQ(this->plan({"--batch", "8", "--step", "3", "--training.seed", "7"}).sequences,
            plan.sequences);
  EXPECT_NE(this->plan({"--batch", "8", "--step", "3", "--seed", "8"}).sequences, plan.sequences);
  EXPECT_NE(this->plan({"--batch", "8", "--step", "4", "--seed", "7"}).sequences, plan.sequences);
}

TEST_F(CommandLine, QuietAndExplain) {
  const std::vector<std::string> command = {
      "plan", "--lengths", "lengths.txt", "--out", "plan.json", "--parallelism.stages", "2"};
  EXPECT_THAT(run(command).out, HasSubstr("plan.json: 5 sequences in "));
  for (const bool before : {false, true}) {
    std::vector<std::string> quiet = command;
    quiet.insert(before ? quiet.begin() : quiet.end(), "-q");
    const Outcome outcome = run(quiet);
    EXPECT_EQ(outcome.code, 0);
    EXPECT_EQ(outcome.out + outcome.error, "");
  }
  const Outcome explained = run({"plan", "--lengths", "lengths.txt", "--explain"});
  EXPECT_EQ(explained.code, 0);
  EXPECT_THAT(explained.out, HasSubstr("batch: step 0, 5 sequences, 5,050 tokens"));
  EXPECT_THAT(explained.out, HasSubstr("candidates, the chosen one first:"));
}

TEST_F(CommandLine, DataGoesFromTextToStatistics) {
  write("text/a.txt", "hello");
  write("text/b.md", "a longer text");
  write("text/empty.txt", "");
  Outcome outcome = run({"data", "build", "--input", "text", "--out", "set", "--pattern", "*.txt",
                         "--pattern", "*.md"});
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("2 documents, 20 tokens (uint16), the longest 14"));
  EXPECT_THAT(outcome.out, HasSubstr("1 empty documents were left out"));
  outcome = run({"data", "stats", "set", "--json", "-"});
  const Json stats = parse_json(outcome.out, "stats");
  EXPECT_EQ(stats["documents"], 2);
  EXPECT_EQ(stats["tokens"], 20);
  EXPECT_FALSE(stats.contains("longer"));
  outcome = run({"data", "stats", "set", "--cap", "6", "--json", "-"});
  EXPECT_EQ(
      parse_json(outcome.out, "stats")["longer"],
      (Json{{"cap", 6}, {"documents", 1}, {"tokens", 14}, {"behind_the_cut", 8}, {"parts", 3}}));
  EXPECT_THAT(run({"data", "stats", "set", "--cap", "6"}).out,
              AllOf(HasSubstr("over 6 tokens: 1 documents, 14 tokens"),
                    HasSubstr("split  makes 3 sequences of them")));
  EXPECT_THAT(run({"data", "stats", "set"}).out, HasSubstr("documents  2"));
  EXPECT_THAT(run({"data", "stats", "lengths.txt", "--lengths"}).out, HasSubstr("documents  5"));
}

TEST_F(CommandLine, LengthsOfAKnownCorpusMakeABatch) {
  const std::vector<std::string> command = {"data", "lengths", "--model", "github", "--count",
                                            "40",   "--cap",   "49152",   "--seed", "3"};
  std::vector<std::string> to_file = command;
  to_file.insert(to_file.end(), {"--out", "made.txt"});
  const Outcome outcome = run(to_file);
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(run(command).out, read("made.txt"));
  const auto expected = synthetic_lengths(length_model("github"), 40, 49152, 3);
  EXPECT_EQ(read_lengths(path("made.txt")), expected);
  EXPECT_EQ(plan({"--lengths", "made.txt"}).sequences, expected);
  expect_error({"data", "lengths", "--model", "gitlab"}, 2, "expected github or commoncrawl");
  expect_error({"data", "lengths"}, 2, "--model");
  expect_error({"data", "lengths", "--model", "github", "--cap", "0"}, 2, "--cap");
}

TEST_F(CommandLine, BadDataIsRefused) {
  std::filesystem::create_directories(path("empty"));
  write("text/a.txt", "hello");
  write("bad.jsonl", "{\"text\": \"a\"}\n{\"text\": 5}\n");
  const auto build = [&](const std::string& input, const std::vector<std::string>& more,
                         const std::string& message) {
    std::vector<std::string> command = {"data", "build", "--input", input, "--out", "set"};
    command.insert(command.end(), more.begin(), more.end());
    expect_error(command, 2, message);
    EXPECT_FALSE(std::filesystem::exists(path("set.idx")));
    EXPECT_FALSE(std::filesystem::exists(path("set.bin")));
  };
  build("none", {}, "none");
  build("empty", {}, "empty");
  build("text", {"--pattern", "*.go"}, "text");
  build("bad.jsonl", {}, "bad.jsonl:2");
  build("bad.jsonl", {"--field", "content"}, "bad.jsonl:1");
  build("text", {"--tokenizer", "none.model"}, "none.model");
  build("text", {"--tokenizer", "bad.jsonl"}, "SentencePiece");

  ASSERT_EQ(run({"data", "build", "--input", "text", "--out", "set"}).code, 0);
  expect_error({"data", "stats", "none"}, 2, "none.idx");
  const std::string index = read("set.idx");
  write("set.idx", index.substr(0, 20));
  expect_error({"data", "stats", "set"}, 2, "set.idx");
  write("set.idx", "X" + index.substr(1));
  expect_error({"data", "stats", "set"}, 2, "set.idx");
  write("set.idx", index);
  write("set.bin", read("set.bin").substr(2));
  expect_error({"data", "stats", "set"}, 2, "set.");
}

TEST_F(CommandLine, LaunchSaysMistakesOnce) {
  expect_error({"launch", "-n", "0", "--", "train"}, 2, "at least 1");
  expect_error({"launch", "-n", "2", "--"}, 2, "found no command");
  expect_error({"launch", "-n", "2", "train"}, 2, "unexpected argument 'train'");
  expect_error({"launch", "-n", "2", "--", "plan"}, 2, "unknown command 'plan'");
  expect_error({"launch", "--ranks", "2", "--stages", "3", "--", "train"}, 2, "--stages");
  if (!has_torch()) return;
  expect_error({"launch", "-n", "2", "--", "train", "--stepz", "3"}, 2, "--stepz");
  EXPECT_EQ(run({"launch", "-n", "2", "--", "train", "--help"}).out, run({"train", "--help"}).out);
  EXPECT_THAT(run({"launch", "--help"}).out,
              HasSubstr("launch -n, --ranks N [options] -- COMMAND"));
}

}  // namespace
}  // namespace infinipipe
