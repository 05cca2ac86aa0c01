#include "infinipipe/core/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "core/names.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string error_of(const auto& act) {
  try {
    act();
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

std::string toml_error(const std::string& text) {
  return error_of([&] { config_from_toml(text, "config.toml"); });
}

std::string set_error(const std::string& key, const std::string& value) {
  TrainConfig config;
  return error_of([&] { set_config(config, key, value, "--" + key); });
}

// The whole configuration as text, to compare two.
std::vector<std::string> values(const TrainConfig& config) {
  std::vector<std::string> all;
  for (const ConfigKey& key : config_keys()) all.push_back(key.name + "=" + key.get(config));
  return all;
}

TEST(Config, DefaultsAreAllowed) { EXPECT_NO_THROW(TrainConfig{}.check()); }

TEST(Config, KeysStandBySectionOnceWithHelp) {
  std::set<std::string> names;
  std::vector<std::string> sections;
  for (const ConfigKey& key : config_keys()) {
    EXPECT_TRUE(names.insert(key.name).second) << key.name << " twice";
    EXPECT_FALSE(key.help.empty()) << key.name;
    if (sections.empty() || sections.back() != key.section()) sections.push_back(key.section());
  }
  EXPECT_EQ(sections,
            (std::vector<std::string>{"model", "model.rope", "data", "training", "optimizer",
                                      "parallelism", "memory", "planner", "cluster", "runtime",
                                      "checkpoint", "metrics", "eval"}));
}

// A value for a key that differs from the default and that check() allows with the others.
std::string other_value(const ConfigKey& key) {
  const std::string now = key.get(TrainConfig{});
  switch (key.type) {
    case ConfigType::kText:
      if (key.name == "training.dtype") return to_string(Dtype::kBfloat16);
      if (key.name == "model.model_type") return to_string(ModelFamily::kQwen3);
      if (key.name == "model.rope.type") return to_string(RopeType::kLinear);
      if (key.name == "optimizer.lr_schedule") return to_string(LrSchedule::kLinear);
      if (key.name == "data.long_documents") return to_string(LongDocuments::kSplit);
      if (key.name == "runtime.device") return to_string(Device::kCuda);
      if (key.name == "runtime.communicator") return to_string(CommunicatorKind::kGloo);
      return "some \"path\" with \\ and \n and é";
    case ConfigType::kInteger:
    case ConfigType::kIntegerOrAuto:
      return now == "auto" ? "7" : std::to_string(std::stoll(now) + 1);
    case ConfigType::kNumber:
      return "0.1234567890123456";
    case ConfigType::kBoolean:
      return now == "true" ? "false" : "true";
    case ConfigType::kIntegersOrAuto:
      return "3,5,1";
    case ConfigType::kNames:
      return "packing,keep more";
    case ConfigType::kDataSets:
      return "data/code:0.7,data/books:0.3";
  }
  return {};
}

TEST(Config, EveryKeyGoesThroughTextAndToml) {
  const std::string folder = ::testing::TempDir() + "/infinipipe_config_test";
  make_folder(folder);
  write_file(folder + "/config.json", model_to_json(ModelSpec{}).dump());
  for (const ConfigKey& key : config_keys()) {
    TrainConfig config;
    const std::string value = key.name == "model.preset" ? "25m"
                              : key.name == "model.from" ? folder
                                                         : other_value(key);
    ASSERT_NE(key.get(config), value) << key.name;
    set_config(config, key.name, value, "test");
    EXPECT_EQ(key.get(config), value) << key.name;
    const TrainConfig again = config_from_toml(config_to_toml(config), "config.toml");
    EXPECT_EQ(values(again), values(config)) << key.name;
    if (key.whole_model) continue;  // changes the other model keys too
    int changed = 0;
    const auto before = values(TrainConfig{});
    const auto after = values(config);
    for (std::size_t i = 0; i < after.size(); ++i) changed += before[i] != after[i] ? 1 : 0;
    EXPECT_EQ(changed, 1) << key.name << " shares a field with another key";
  }
}

TEST(Config, AutoClearsAValue) {
  TrainConfig config;
  for (const char* key :
       {"planner.slices", "planner.chunk_tokens", "parallelism.layers_per_stage"}) {
    set_config(config, key, "2", "");
    set_config(config, key, "auto", "");
  }
  EXPECT_EQ(values(config), values(TrainConfig{}));
  set_config(config, "parallelism.layers_per_stage", " 3, 5", "");
  EXPECT_EQ(*config.parallelism.layers_per_stage, (std::vector<int>{3, 5}));
}

TEST(Config, ReadsATomlFileOverABase) {
  const std::string path = ::testing::TempDir() + "config_test.toml";
  write_file(path,
             "[training]\nsteps = 20\n[optimizer]\nlr = 1\neps = 1e-6\n"
             "[parallelism]\nstages = 2\nlayers_per_stage = [1, 3]\n"
             "[planner]\nslices = \"auto\"\nchunk_tokens = 4_096\nrecalibrate = false\n");
  TrainConfig base;
  base.planner.slices = 5;
  base.training.seed = 9;
  const TrainConfig config = read_config(path, base);
  EXPECT_EQ(config.training.steps, 20);
  EXPECT_EQ(config.training.seed, 9);
  EXPECT_EQ(config.optimizer.lr, 1.0);
  EXPECT_EQ(config.optimizer.eps, 1e-6);
  EXPECT_EQ(*config.parallelism.layers_per_stage, (std::vector<int>{1, 3}));
  EXPECT_FALSE(config.planner.slices.has_value());
  EXPECT_EQ(config.planner.chunk_tokens, 4096);
  EXPECT_FALSE(config.planner.recalibrate);
  EXPECT_NO_THROW(config.check());
  std::filesystem::remove(path);
  EXPECT_THAT(error_of([&] { read_config(path); }), StartsWith(path));
}

TEST(Config, PresetAppliesBeforeTheOtherModelKeys) {
  const TrainConfig config = config_from_toml(
      "[model]\nnum_hidden_layers = 6\nhidden_size = 1024\npreset = \"25m\"\n", "c");
  EXPECT_EQ(config.model_preset, "25m");
  EXPECT_EQ(config.model.num_hidden_layers, 6);
  EXPECT_EQ(config.model.hidden_size, 1024);
  EXPECT_EQ(config.model.intermediate_size, model_preset("25m").intermediate_size);
}

TEST(Config, UnknownKeysNameTheNearest) {
  EXPECT_EQ(toml_error("[training]\nstepz = 3\n"),
            "config.toml: training.stepz: unknown key, did you mean training.steps?");
  EXPECT_EQ(toml_error("[trainin]\nsteps = 3\n"),
            "config.toml: [trainin]: unknown section, did you mean [training]?");
  EXPECT_EQ(toml_error("[zzzzzzzz]\n"),
            "config.toml: [zzzzzzzz]: unknown section, expected one of model, data, training, "
            "optimizer, parallelism, memory, planner, cluster, runtime, checkpoint, metrics, eval");
  EXPECT_EQ(toml_error("steps = 3\n"),
            "config.toml: steps: unknown key, did you mean training.steps?");
  EXPECT_EQ(toml_error("[memory]\nqqqqqqqqqqqqq = 3\n"),
            "config.toml: memory.qqqqqqqqqqqqq: unknown key, expected one of [memory]'s: "
            "bytes_per_stage");
  EXPECT_EQ(toml_error("[training.inner]\nx = 3\n").find("config.toml: training.inner: unknown"),
            0U);
  EXPECT_EQ(
      set_error("parallelism.stage", "3"),
      "--parallelism.stage: parallelism.stage: unknown key, did you mean parallelism.stages?");
  EXPECT_THAT(set_error("nothing.like.it.at.all", "3"),
              HasSubstr("unknown key, expected section.key like training.steps"));
  TrainConfig config;
  EXPECT_EQ(error_of([&] { set_config(config, "learning", "1", ""); }),
            "learning: unknown key, expected section.key like training.steps");
}

TEST(Config, WrongTypesNameKeyFoundAndExpected) {
  EXPECT_EQ(toml_error("[training]\nsteps = \"20\"\n"),
            "config.toml: training.steps: found a string, expected an integer");
  EXPECT_EQ(toml_error("[training]\nsteps = 2.5\n"),
            "config.toml: training.steps: found a float, expected an integer");
  EXPECT_EQ(toml_error("[training]\ndtype = 32\n"),
            "config.toml: training.dtype: found an integer, expected a string");
  EXPECT_EQ(toml_error("[optimizer]\nlr = true\n"),
            "config.toml: optimizer.lr: found a boolean, expected a number");
  EXPECT_EQ(toml_error("[planner]\nrecalibrate = \"true\"\n"),
            "config.toml: planner.recalibrate: found a string, expected true or false");
  EXPECT_EQ(toml_error("[planner]\nslices = \"many\"\n"),
            "config.toml: planner.slices: found a string, expected an integer or \"auto\"");
  EXPECT_EQ(toml_error("[parallelism]\nlayers_per_stage = [1, \"2\"]\n"),
            "config.toml: parallelism.layers_per_stage: found an array, expected an array of "
            "integers or \"auto\"");
  EXPECT_EQ(
      toml_error("[data]\npath = 1979-05-27\n"),
      "config.toml: data.path: found a date or time, expected a string, or an array of prefixes "
      "or of {path = \"prefix\", weight = 0.7}");
  EXPECT_EQ(toml_error("training = 5\n"),
            "config.toml: training: found an integer, expected the section [training]");
  EXPECT_EQ(toml_error("[[training]]\nsteps = 5\n"),
            "config.toml: training: found an array, expected the section [training]");
  EXPECT_EQ(toml_error("[training]\nsteps = 3000000000\n"),
            "config.toml: training.steps: found '3000000000', expected a whole number of at least "
            "-2147483648 and at most 2147483647");
  EXPECT_EQ(toml_error("[model]\nrope_theta = nan\n"),
            "config.toml: model.rope_theta: found 'nan', expected a finite number");
  EXPECT_EQ(toml_error("[optimizer]\nlr = -inf\n"),
            "config.toml: optimizer.lr: found '-inf', expected a finite number");
  EXPECT_EQ(toml_error("[model]\npreset = \"25n\"\n")
                .find("config.toml: model.preset: found '25n', expected one of tiny"),
            0U);
}

TEST(Config, BadTomlNamesItsPlace) {
  EXPECT_THAT(toml_error("[training]\nsteps = = 3\n"),
              StartsWith("config.toml: line 2, column 9: "));
  EXPECT_THAT(toml_error("[training]\nsteps = 1\nsteps = 2\n"), StartsWith("config.toml: line 3"));
  EXPECT_THAT(toml_error("[training]\n[training]\n"), StartsWith("config.toml: line 2"));
  EXPECT_THAT(toml_error("\xff\xfe"), StartsWith("config.toml: line 1"));
  EXPECT_EQ(toml_error(""), "accepted");
}

// The library's recursion into keys has no limit of its own.
TEST(Config, DeepTomlIsRefusedBeforeItIsParsed) {
  const auto repeated = [](const std::string& part, int times) {
    std::string text;
    for (int i = 0; i < times; ++i) text += part;
    return text;
  };
  const auto key = HasSubstr("found a key of over three parts");
  EXPECT_THAT(toml_error("\n" + repeated("a.", 200'000) + "a = 1"),
              AllOf(StartsWith("config.toml: line 2: "), key));
  EXPECT_THAT(toml_error("[" + repeated("a.", 200'000) + "a]"), key);
  EXPECT_THAT(toml_error(repeated("\"a.\" . ", 200'000) + "a = 1"), key);
  EXPECT_THAT(toml_error("x = {" + repeated("a.", 200'000) + "a = 1}"), key);
  EXPECT_THAT(toml_error("x = " + repeated("[", 200'000)), HasSubstr("nested deeper than 8"));
  EXPECT_THAT(toml_error("x = " + repeated("{a=", 200'000)), HasSubstr("nested deeper than 8"));
  EXPECT_THAT(toml_error("x = \"\"\"\n\\\"\"\"\"\"\n" + repeated("a.", 200'000)), key);
  // Dots and brackets that are no nesting.
  EXPECT_EQ(toml_error("# a.b.c.d.e [[[[[[[[[[\n[data]\npath = \"a.b.c.d.e\\\".[[[[[[[[[[\""),
            "accepted");
  EXPECT_EQ(
      toml_error("[data]\npath = 'a.b.c.d\\' # [[[[[[[[[[\ntokenizer = \"\"\"\n[.[.[.[.[.[.[.[.[."
                 "\"\"\""),
      "accepted");
  EXPECT_EQ(toml_error("[optimizer]\nlr = 0.1\nbeta1 = 0.2\nbeta2 = 0.3\neps = 1.5e-3"),
            "accepted");
  EXPECT_EQ(toml_error("optimizer.lr = 0.1"), "accepted");
}

TEST(Config, TheWholeTextIsTheDocument) {
  EXPECT_THAT(toml_error(std::string("[training]\nsteps = 3\n\0x", 24)),
              StartsWith("config.toml: line 3"));
}

TEST(Config, BadTextNamesKeyFoundAndExpected) {
  EXPECT_EQ(set_error("training.steps", "abc"),
            "--training.steps: training.steps: found 'abc', expected a whole number");
  EXPECT_THAT(set_error("training.steps", ""), HasSubstr("found '', expected a whole number"));
  EXPECT_THAT(set_error("training.steps", "5x"), HasSubstr("found '5x'"));
  EXPECT_THAT(set_error("training.steps", " 5"), HasSubstr("found ' 5'"));
  EXPECT_THAT(set_error("training.seed", "18446744073709551616"),
              HasSubstr("found '18446744073709551616', expected a whole number of at least "
                        "-9223372036854775808 and at most 9223372036854775807"));
  EXPECT_THAT(set_error("planner.slices", "99999999999"),
              HasSubstr(" and at most 2147483647 or auto"));
  EXPECT_THAT(set_error("optimizer.lr", "nan"), HasSubstr("found 'nan', expected a finite number"));
  EXPECT_THAT(set_error("optimizer.lr", "inf"), HasSubstr("found 'inf', expected a finite number"));
  EXPECT_THAT(set_error("optimizer.lr", "1e999"),
              HasSubstr("found '1e999', expected a finite number"));
  EXPECT_THAT(set_error("optimizer.lr", "fast"), HasSubstr("found 'fast', expected a number"));
  EXPECT_THAT(set_error("planner.recalibrate", "yes"), HasSubstr("expected true or false"));
  EXPECT_THAT(set_error("planner.slices", "many"), HasSubstr("expected a whole number or auto"));
  EXPECT_THAT(set_error("parallelism.layers_per_stage", "3,,5"),
              HasSubstr("found '3,,5', expected whole numbers like 3,5, or auto"));
  for (const char* value : {"", ",", "3,", "3 5", "3,5x", "3,99999999999"}) {
    EXPECT_THAT(set_error("parallelism.layers_per_stage", value),
                HasSubstr("found '" + std::string(value) + "', expected whole numbers"));
  }
}

// Text ends in JSON files, which are UTF-8, long after it was given.
TEST(Config, TextIsUtf8WithoutNul) {
  for (const ConfigKey& key : config_keys()) {
    const std::string found = "--" + key.name + ": " + key.name + ": found text ";
    for (const char* value : {"caf\xe9", "\xff", "a\xed\xa0\x80", "a\xc3"}) {
      EXPECT_THAT(set_error(key.name, value), StartsWith(found + "that is not UTF-8, expected"));
    }
    EXPECT_THAT(set_error(key.name, std::string("a\0b", 3)),
                StartsWith(found + "with a NUL character, expected"));
  }
  EXPECT_EQ(set_error("metrics.run_name", "caf\xc3\xa9"), "accepted");
  EXPECT_THAT(toml_error("[data]\npath = \"a\\u0000b\"\n"),
              StartsWith("config.toml: data.path: found text with a NUL character"));
}

struct Refusal {
  std::vector<std::pair<const char*, const char*>> set;
  const char* message;  // after "config: "
};

TEST(Config, CheckRefusesWhatCannotBe) {
  const Refusal refusals[] = {
      {{{"model.hidden_size", "0"}}, "model.hidden_size: found 0"},
      {{{"model.num_attention_heads", "6"}, {"model.hidden_size", "384"}},
       "model.num_attention_heads: found 6 with num_key_value_heads 4"},
      {{{"data.tokenizer", ""}}, "data.tokenizer: found nothing"},
      {{{"data.max_sequence_length", "0"}},
       "data.max_sequence_length: found 0, expected at least 1"},
      {{{"training.steps", "0"}}, "training.steps: found 0, expected at least 1"},
      {{{"training.sequences_per_step", "-1"}}, "training.sequences_per_step: found -1"},
      {{{"training.tokens_per_step", "-1"}}, "training.tokens_per_step: found -1"},
      {{{"training.seed", "-1"}}, "training.seed: found -1"},
      {{{"training.max_minutes", "-0.5"}},
       "training.max_minutes: found -0.5, expected a finite number of at least 0"},
      {{{"optimizer.lr", "-0.1"}}, "optimizer.lr: found -0.1"},
      {{{"optimizer.lr", "-1e-9"}}, "optimizer.lr: found -1e-09, expected a finite number"},
      {{{"optimizer.min_lr_ratio", "1.5"}},
       "optimizer.min_lr_ratio: found 1.5, expected a finite number of at least 0 and at most 1"},
      {{{"optimizer.warmup_steps", "-1"}}, "optimizer.warmup_steps: found -1"},
      {{{"optimizer.decay_steps", "-1"}}, "optimizer.decay_steps: found -1"},
      {{{"optimizer.beta1", "1"}},
       "optimizer.beta1: found 1, expected a finite number of at least 0 and below 1"},
      {{{"optimizer.beta2", "-1"}}, "optimizer.beta2: found -1"},
      {{{"optimizer.eps", "-1"}}, "optimizer.eps: found -1"},
      {{{"optimizer.weight_decay", "-1"}}, "optimizer.weight_decay: found -1"},
      {{{"optimizer.clip_grad_norm", "-1"}}, "optimizer.clip_grad_norm: found -1"},
      {{{"parallelism.stages", "0"}}, "parallelism.stages: found 0, expected at least 1"},
      {{{"parallelism.stages", "5"}},
       "parallelism.stages: found 5 stages for 4 layers, expected at most one stage per layer; use "
       "fewer stages or a deeper model"},
      {{{"parallelism.sequence_parallel", "0"}}, "parallelism.sequence_parallel: found 0"},
      {{{"parallelism.data_parallel", "0"}}, "parallelism.data_parallel: found 0"},
      {{{"parallelism.layers_per_stage", "1,3"}},
       "parallelism.layers_per_stage: found 2 numbers, expected one per stage "
       "(parallelism.stages = 1)"},
      {{{"parallelism.stages", "2"}, {"parallelism.layers_per_stage", "4,0"}},
       "parallelism.layers_per_stage: found 0, expected at least 1"},
      {{{"parallelism.stages", "2"}, {"parallelism.layers_per_stage", "2,3"}},
       "parallelism.layers_per_stage: found a sum of 5, expected model.num_hidden_layers = 4"},
      {{{"parallelism.stages", "2"}, {"parallelism.layers_per_stage", "2147483647,2147483647"}},
       "parallelism.layers_per_stage: found a sum of 4294967294"},
      {{{"memory.bytes_per_stage", "-1"}}, "memory.bytes_per_stage: found -1"},
      {{{"planner.name", ""}}, "planner.name: found nothing"},
      {{{"planner.slices", "0"}}, "planner.slices: found 0, expected at least 1"},
      {{{"planner.chunk_tokens", "0"}}, "planner.chunk_tokens: found 0"},
      {{{"planner.recompute_keeps", "atention"}},
       "planner.recompute_keeps: found 'atention', expected auto, attention, input or mlp_input"},
      {{{"planner.degree", "2"}}, "planner.degree: found '2', expected whole or auto"},
      {{{"planner.solver_gap", "1"}}, "planner.solver_gap: found 1"},
      {{{"planner.solver_nodes", "-1"}}, "planner.solver_nodes: found -1"},
      {{{"planner.solver_seconds", "-1"}}, "planner.solver_seconds: found -1"},
      {{{"planner.ahead", "-1"}}, "planner.ahead: found -1"},
      {{{"cluster.devices", "-1"}}, "cluster.devices: found -1"},
      {{{"cluster.profile", "estimate:mi300x"}},
       "cluster.profile: found estimate of 'mi300x', expected h100, a100, h200, b200, 4090, a10 or "
       "l40s"},
      {{{"cluster.devices_per_node", "0"}}, "cluster.devices_per_node: found 0"},
      {{{"runtime.lost_after_seconds", "0.5"}}, "runtime.lost_after_seconds: found 0.5"},
      {{{"runtime.threads_per_stage", "0"}}, "runtime.threads_per_stage: found 0"},
      {{{"checkpoint.every", "-1"}}, "checkpoint.every: found -1"},
      {{{"checkpoint.keep", "0"}}, "checkpoint.keep: found 0"},
      {{{"checkpoint.every", "5"}}, "checkpoint.every: found 5 without checkpoint.path"},
      {{{"training.sequences_per_step", "2147483647"}},
       "training.sequences_per_step: found 2147483647, expected at least 1 and at most 131072"},
      {{{"parallelism.stages", "1025"}},
       "parallelism.stages: found 1025, expected at least 1 and at most 1024"},
      {{{"parallelism.data_parallel", "1000000"}},
       "parallelism.data_parallel: found 1000000, expected at least 1 and at most 4096"},
      {{{"parallelism.sequence_parallel", "5000"}},
       "parallelism.sequence_parallel: found 5000, expected at least 1 and at most 4096"},
      {{{"parallelism.data_parallel", "4096"}, {"parallelism.sequence_parallel", "4096"}},
       "parallelism: found 16777216 devices in all, expected at most 1048576"},
      {{{"runtime.threads_per_stage", "100000"}},
       "runtime.threads_per_stage: found 100000, expected at least 1 and at most 1024"},
      {{{"planner.slices", "65537"}},
       "planner.slices: found 65537, expected at least 1 and at most 65536"},
      {{{"planner.ahead", "1025"}},
       "planner.ahead: found 1025, expected at least 0 and at most 1024"},
      {{{"memory.bytes_per_stage", "1e308"}}, "memory.bytes_per_stage: found 1"},
      {{{"cluster.devices", "2000000000"}},
       "cluster.devices: found 2000000000, expected at least 0 and at most 1048576"},
  };
  for (const Refusal& refusal : refusals) {
    TrainConfig config;
    for (const auto& [key, value] : refusal.set) set_config(config, key, value, "");
    EXPECT_THAT(error_of([&] { config.check(); }),
                StartsWith(std::string("config: ") + refusal.message));
  }
}

TEST(Config, NamesOfTablesAreReadAtOnce) {
  TrainConfig config;
  EXPECT_EQ(error_of([&] { set_config(config, "training.dtype", "float23", "own.toml"); }),
            "own.toml: training.dtype: found 'float23', expected float64, float32 or bfloat16; did "
            "you mean float32?");
  EXPECT_EQ(error_of([&] { set_config(config, "runtime.communicator", "thread", ""); }),
            "runtime.communicator: found 'thread', expected auto, threads, gloo or nccl; did you "
            "mean threads?");
  EXPECT_THAT(error_of([&] { set_config(config, "runtime.communicator", "mpi", ""); }),
              ::testing::HasSubstr("mpirun starts the processes all the same"));
  EXPECT_EQ(error_of([&] { set_config(config, "runtime.device", "gpu", "own.toml"); }),
            "own.toml: runtime.device: found 'gpu', expected cpu or cuda; did you mean cpu?");
  for (const DtypeRow& row : kDtypes) {
    set_config(config, "training.dtype", row.name, "");
    EXPECT_EQ(config.training.dtype, row.value);
    EXPECT_EQ(config_from_toml(config_to_toml(config), "").training.dtype, row.value);
  }
  for (const DeviceRow& row : kDevices) {
    set_config(config, "runtime.device", row.name, "");
    EXPECT_EQ(config.runtime.device, row.value);
    EXPECT_EQ(config_from_toml(config_to_toml(config), "").runtime.device, row.value);
  }
}

TEST(Nearest, FindsTypingMistakesOnly) {
  const std::vector<std::string> known = {"steps", "stages", "seed", "sequence_parallel"};
  EXPECT_EQ(nearest("step", known), "steps");
  EXPECT_EQ(nearest("setps", known), "steps");
  EXPECT_EQ(nearest("sead", known), "seed");
  EXPECT_EQ(nearest("sequence_paralel", known), "sequence_parallel");
  EXPECT_EQ(nearest("sequense-paralell", known), "sequence_parallel");
  EXPECT_EQ(nearest("steps", known), "steps");
  EXPECT_EQ(nearest("tokenizer", known), "");
  EXPECT_EQ(nearest("", known), "");
  EXPECT_EQ(nearest(std::string(100000, 'a'), known), "");
  EXPECT_EQ(nearest("x", {}), "");
}

// What the repository offers to start from.
TEST(Config, AnotherFolderKeepsWhatWasMadeOfRope) {
  const std::string folders = ::testing::TempDir() + "/infinipipe_two_folders";
  for (const int width : {64, 128}) {
    const std::string folder = folders + "/" + std::to_string(width);
    make_folder(folder);
    ModelSpec model;
    model.hidden_size = width;
    model.max_position_embeddings = width;
    write_file(folder + "/config.json", model_to_json(model).dump());
  }
  TrainConfig config = config_from_toml(
      "[model]\nfrom = \"" + folders + "/64\"\n[model.rope]\ntype = \"yarn\"\nfactor = 8.0\n",
      "config.toml");
  set_configs(config, {{"model.from", folders + "/128"}}, "command line");
  config.settle();
  EXPECT_EQ(config.model.hidden_size, 128);
  EXPECT_EQ(config.model.rope.type, RopeType::kYarn);
  EXPECT_EQ(config.model.rope.factor, 8.0);
  EXPECT_EQ(config.model.rope.original_max_position_embeddings, 128);
  EXPECT_EQ(config.model.max_position_embeddings, 1024);
  set_configs(config, {{"model.rope.type", "default"}}, "command line");
  EXPECT_EQ(config.model.rope.type, RopeType::kDefault);
  config = config_from_toml("[model]\npreset = \"3m\"\nrope_theta = 5e5\n", "config.toml");
  set_configs(config, {{"model.preset", "25m"}}, "command line");
  EXPECT_EQ(config.model.hidden_size, model_preset("25m").hidden_size);
  EXPECT_EQ(config.model.rope_theta, 5e5);
}

TEST(Config, TheFilesInConfigsAreWhole) {
  // The second phase's model is what the first phase leaves.
  const std::string configs = INFINIPIPE_GOLDEN "/../../configs";
  const std::string folder = ::testing::TempDir() + "/infinipipe_first_phase";
  const TrainConfig first = read_config(configs + "/default.toml");
  make_folder(folder);
  write_file(folder + "/config.json", model_to_json(first.model).dump());
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(configs)) {
    std::string text = read_file(entry.path().string());
    const std::size_t from = text.find("\"" + first.checkpoint.path + "\"  # weights alone");
    if (from != std::string::npos) text.replace(from + 1, first.checkpoint.path.size(), folder);
    TrainConfig config = config_from_toml(text, entry.path().string());
    config.settle();
    EXPECT_NO_THROW(config.check()) << entry.path();
    if (!config.model_from.empty()) {
      EXPECT_EQ(config.model.hidden_size, first.model.hidden_size);
      EXPECT_EQ(config.data.max_sequence_length, 8 * first.data.max_sequence_length);
      EXPECT_EQ(config.model.max_position_embeddings, config.data.max_sequence_length);
    }
    EXPECT_FALSE(config.data.path.empty()) << entry.path();
    EXPECT_FALSE(config.checkpoint.path.empty()) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 3);
}

}  // namespace
}  // namespace infinipipe
