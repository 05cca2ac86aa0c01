#include "trainer/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <set>

#include "base/hash.h"
#include "infinipipe/base/error.h"
#include "infinipipe/cost/profile.h"
#include "profile/profile_machine.h"
#include "support/cache_home.h"
#include "support/file_size_limit.h"
#include "system/training/fixture.h"
#include "trainer/profile.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class CheckpointTest : public TrainingTest {
 protected:
  std::string step_file(const char* step, const char* file) const {
    return folder_ + "/checkpoints/" + step + "/" + file;
  }
  static std::set<std::string> names(const std::string& folder) {
    std::set<std::string> all;
    for (const auto& entry : fs::directory_iterator(folder))
      all.insert(entry.path().filename().string());
    return all;
  }
  static void flip_byte(const std::string& path, std::size_t from_end) {
    std::string content = read_file(path);
    content[content.size() - from_end] = static_cast<char>(content[content.size() - from_end] ^ 1);
    write_file(path, content);
  }
  static void write_manifest(const std::string& path, Json json) {
    json.erase("hash");
    json["hash"] = hash_json(json);
    write_file(path, json.dump());
  }
  // A resumed run in a process of its own.
  void run_binary(int steps, bool resume) const {
    TrainConfig c = config();
    c.training.steps = steps;
    run_binary(c, resume);
  }
  void run_binary(const TrainConfig& c, bool resume) const {
    write_file(folder_ + "/run.toml", config_to_toml(c));
    const std::string command = std::string(INFINIPIPE_BINARY) + " train -q --config " + folder_ +
                                "/run.toml" + (resume ? " --resume" : " --overwrite");
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  std::vector<std::string> losses() const {
    std::vector<std::string> values;
    for (const Json& line : metrics_lines()) {
      values.push_back(line["loss"].dump() + " " + line["grad_norm"].dump() + " " +
                       line["plan_hash"].dump());
    }
    return values;
  }
};

// robustness 1: 2N steps against N, a fresh process, and N more.
TEST_F(CheckpointTest, ResumeInAFreshProcessIsExact) {
  run_binary(8, false);
  const auto expected_losses = losses();
  const std::string weights = read_file(step_file("step-000008", "model.safetensors"));
  const std::string moments = read_file(step_file("step-000008", "optimizer.safetensors"));
  const Json manifest = read_json_file(step_file("step-000008", "manifest.json"));
  fs::remove_all(folder_ + "/checkpoints");

  run_binary(4, false);
  run_binary(8, true);
  EXPECT_EQ(losses(), expected_losses);
  EXPECT_TRUE(read_file(step_file("step-000008", "model.safetensors")) == weights);
  EXPECT_TRUE(read_file(step_file("step-000008", "optimizer.safetensors")) == moments);
  EXPECT_EQ(read_json_file(step_file("step-000008", "manifest.json"))["sampler"],
            manifest["sampler"]);
}

// A pipe in the place of a file would be waited for.
TEST_F(CheckpointTest, APipeIsNoFileOfACheckpoint) {
  run(config());
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "config.json"}) {
    const std::string path = step_file("step-000006", file);
    fs::rename(path, path + ".real");
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    try {
      find_checkpoint(folder_ + "/checkpoints");
      ADD_FAILURE() << file;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr(path));
    }
    fs::rename(path + ".real", path);
  }
  EXPECT_NO_THROW(find_checkpoint(folder_ + "/checkpoints"));
}

// The same by default, with a measured profile, at four stages: how fast each stage was, which no
// two runs agree on, decides nothing.
TEST_F(CheckpointTest, RunsWithAMeasuredProfileAreTheSameBits) {
  const CacheHome cache(folder_ + "/cache");
  TrainConfig c = config(4);
  c.planner = {};
  c.cluster.profile.clear();  // this machine's
  c.training.sequences_per_step = 4;
  Profile profile = estimated_profile(c.model, Dtype::kFloat32);
  profile.source = "measured";
  profile.machine = machine_name();
  profile.stage_speed = {1.0, 0.9, 1.2, 1.0};
  make_folder(fs::path(cached_profile_path(c)).parent_path().string());
  write_file(cached_profile_path(c), profile_to_json(profile).dump());
  ASSERT_FALSE(c.planner.recalibrate) << "the default";

  const auto go = [&](const char* folder, int steps, bool resume) {
    TrainConfig run = c;
    run.checkpoint.path = folder_ + "/" + folder;
    run.training.steps = steps;
    run_binary(run, resume);
  };
  go("whole", 12, false);
  const auto expected = losses();
  const auto of = [&](const std::string& folder, const char* file) {
    return read_file(folder_ + "/" + folder + "/step-000012/" + file);
  };
  go("again", 12, false);
  EXPECT_EQ(losses(), expected);
  go("parts", 5, false);
  go("parts", 12, true);
  EXPECT_EQ(losses(), expected);
  for (const char* other : {"again", "parts"}) {
    for (const char* file : {"model.safetensors", "optimizer.safetensors"})
      EXPECT_TRUE(of(other, file) == of("whole", file)) << other << "/" << file;
  }
}

// robustness 2: the test above can fail: without its moments, or at another step, a run differs.
TEST_F(CheckpointTest, AResumeThatLosesStateDiffers) {
  TrainConfig c = config();
  c.training.steps = 8;
  c.checkpoint.every = 4;
  c.checkpoint.keep = 9;
  run(c);
  const std::string expected = read_file(step_file("step-000008", "model.safetensors"));

  const auto resume_differs = [&](const std::function<void()>& damage) {
    fs::remove_all(folder_ + "/checkpoints/step-000008");
    damage();
    TrainConfig after = c;
    after.checkpoint.every = 0;  // the damaged checkpoint stays as it is
    run(after, true);
    return read_file(step_file("step-000008", "model.safetensors")) != expected;
  };
  EXPECT_FALSE(resume_differs([] {}));

  const std::string manifest = step_file("step-000004", "manifest.json");
  const std::string original = read_file(manifest);
  EXPECT_TRUE(resume_differs([&] {  // the data cursor one step back
    Json json = parse_json(original, manifest);
    json["sampler"]["step"] = json["next_step"] = 3;
    write_manifest(manifest, json);
  }));
  write_file(manifest, original);
  EXPECT_TRUE(resume_differs([&] {  // the first moments of a fresh optimizer
    TrainConfig fresh = c;
    fresh.checkpoint.path = folder_ + "/fresh";
    fresh.training.steps = 1;
    fresh.optimizer.lr = 1e-6;
    fresh.optimizer.decay_steps = 20;
    run(fresh);
    const std::string file = folder_ + "/fresh/step-000001/optimizer.safetensors";
    fs::copy_file(file, step_file("step-000004", "optimizer.safetensors"),
                  fs::copy_options::overwrite_existing);
    Json json = parse_json(original, manifest);
    for (Json& entry : json["files"]) {
      if (entry["name"] == "optimizer.safetensors") {
        entry = read_json_file(folder_ + "/fresh/step-000001/manifest.json")["files"][1];
      }
    }
    write_manifest(manifest, json);
  }));
}

// robustness 3: load, then save again.
TEST_F(CheckpointTest, LoadThenSaveGivesTheSameBytes) {
  const TrainConfig c = config();
  run(c);
  const CheckpointInfo info = find_checkpoint(c.checkpoint.path);
  Engine::Options options;
  options.model = c.model;
  options.stages = {{0, 1}, {1, 3}, {3, 4}};
  Engine engine(options);
  load_checkpoint(info, engine, true);
  TrainConfig other = info.config;
  other.checkpoint.path = folder_ + "/again";
  const std::string folder = save_checkpoint(engine, other, info.next_step, info.sampler);
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    EXPECT_TRUE(read_file(folder + "/" + file) == read_file(info.folder + "/" + file)) << file;
  }
}

TEST_F(CheckpointTest, ABrokenOneIsNamedAndPassedOver) {
  TrainConfig c = config();
  c.checkpoint.every = 2;
  c.checkpoint.keep = 3;
  run(c);
  flip_byte(step_file("step-000006", "model.safetensors"), 5);
  std::vector<std::string> notes;
  EXPECT_EQ(find_checkpoint(c.checkpoint.path, &notes).next_step, 4);
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_THAT(notes[0], HasSubstr("step-000006/model.safetensors: checksum is"));

  fs::remove(step_file("step-000004", "optimizer.safetensors"));
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 2);

  fs::resize_file(step_file("step-000002", "optimizer.safetensors"), 100);
  EXPECT_THROW(find_checkpoint(c.checkpoint.path), InputError);
}

// robustness 13: a manifest says where to go on, so its own bits count too.
TEST_F(CheckpointTest, AChangedManifestIsNamedAndPassedOver) {
  TrainConfig c = config();
  c.checkpoint.every = 3;
  run(c);
  const std::string manifest = step_file("step-000006", "manifest.json");
  std::string content = read_file(manifest);
  const std::size_t digit = content.find("\"step\": 6");
  ASSERT_NE(digit, std::string::npos);
  content[digit + 8] = '7';  // one bit
  write_file(manifest, content);
  std::vector<std::string> notes;
  EXPECT_EQ(find_checkpoint(c.checkpoint.path, &notes).next_step, 3);
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_THAT(notes[0], HasSubstr("step-000006/manifest.json: its content does not have the hash"));

  Json json = parse_json(content, manifest);  // whole, but it contradicts itself
  write_manifest(manifest, json);
  EXPECT_EQ(find_checkpoint(c.checkpoint.path, &notes).next_step, 3);
  EXPECT_THAT(notes.back(), HasSubstr("sampler.step: found 7, expected next_step, 6"));

  json["sampler"]["step"] = 6;  // older ones have no hash
  json.erase("hash");
  write_file(manifest, json.dump());
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 6);

  for (const Json& config : {Json(), Json::array(), Json("x")}) {  // not the default one
    Json without = json;
    without["config"] = config;
    write_file(manifest, without.dump());
    EXPECT_EQ(find_checkpoint(c.checkpoint.path, &notes).next_step, 3);
    EXPECT_THAT(notes.back(), HasSubstr("manifest.json: config: found"));
  }
  write_file(manifest, json.dump());

  write_file(c.checkpoint.path + "/latest", std::string(10'000, 'x'));  // a hint, no more
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 6);
}

// What `latest` names is gone, or it names nothing: an older one is never taken in silence.
TEST_F(CheckpointTest, AMissingLatestIsSaid) {
  TrainConfig c = config();
  c.checkpoint.every = 3;
  run(c);
  const std::string latest = c.checkpoint.path + "/latest";
  const auto notes_of = [&](int expected) {
    std::vector<std::string> notes;
    EXPECT_EQ(find_checkpoint(c.checkpoint.path, &notes).next_step, expected);
    EXPECT_EQ(notes.size(), 1U);
    return notes.empty() ? std::string() : notes[0];
  };
  write_file(latest, "../elsewhere/step-000003\n");
  EXPECT_THAT(notes_of(6), HasSubstr("latest names no step-... folder"));
  fs::remove(latest);
  EXPECT_THAT(notes_of(6), HasSubstr("latest is missing"));
  write_file(latest, "step-000006\n");
  fs::rename(c.checkpoint.path + "/step-000006", folder_ + "/aside");
  EXPECT_THAT(notes_of(3), HasSubstr("latest names step-000006, which is not there"));
  fs::remove_all(c.checkpoint.path + "/step-000003");
  try {
    run(c, true);
    FAIL() << "it began anew";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("`latest` names step-000006, and no checkpoint is there"));
  }
}

// A disk that is full for a while costs a warning, and for good the steps since the last
// checkpoint.
TEST_F(CheckpointTest, AFailedSavingNamesTheStepAndTrainingGoesOn) {
  TrainConfig c = config();
  c.checkpoint.every = 2;
  c.metrics.path.clear();
  TrainOptions options = options_of(c);
  std::optional<FileSizeLimit> limit;
  options.on_step = [&](const StepMetrics& metrics) {
    if (metrics.step == 3) limit.emplace(4096);
    if (metrics.step == 4) limit.reset();
  };
  Said said = listen(options);
  EXPECT_EQ(said.error, "");
  ASSERT_EQ(said.warnings.size(), 1U);
  EXPECT_THAT(said.warnings[0],
              AllOf(HasSubstr("after step 3: the checkpoint could not be saved: "),
                    HasSubstr("step-000002 is whole; training goes on")));
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 6);
  options.on_step = [&](const StepMetrics& metrics) {
    if (metrics.step == 5) limit.emplace(4096);
  };
  said = listen(options);
  limit.reset();
  EXPECT_THAT(said.error, AllOf(HasSubstr("after step 5: the checkpoint could not be saved: "),
                                HasSubstr("what was trained since " + c.checkpoint.path +
                                          "/step-000004 is lost"),
                                HasSubstr("step-000004 is whole")));
}

TEST_F(CheckpointTest, TrainingIntoOneStepsCheckpointIsRefused) {
  TrainConfig c = config();
  run(c);
  c.checkpoint.path += "/step-000006";
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 6) << "eval and generate may";
  for (const bool resume : {false, true}) {
    try {
      run(c, resume);
      FAIL() << "it was trained";
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("checkpoint.path: found one step's checkpoint"));
    }
  }
}

TEST_F(CheckpointTest, OldOnesAreRemovedAndLatestNamesTheNewest) {
  TrainConfig c = config();
  c.checkpoint.every = 1;
  c.checkpoint.keep = 2;
  run(c);
  EXPECT_EQ(read_file(c.checkpoint.path + "/latest"), "step-000006\n");
  EXPECT_TRUE(fs::exists(step_file("step-000005", "manifest.json")));
  EXPECT_FALSE(fs::exists(folder_ + "/checkpoints/step-000004"));
  EXPECT_EQ(names(c.checkpoint.path),
            (std::set<std::string>{"latest", "lock", "step-000005", "step-000006"}));
}

TEST_F(CheckpointTest, AHalfWrittenOneIsIgnored) {
  const TrainConfig c = config();
  run(c);
  make_folder(c.checkpoint.path + "/tmp-step-000009");
  make_folder(c.checkpoint.path + "/step-000009");  // no manifest
  write_file(c.checkpoint.path + "/latest.tmp.1234", "step-0000");
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 6);
  run(c, true);  // swept up, though there is nothing to do
  EXPECT_FALSE(fs::exists(c.checkpoint.path + "/tmp-step-000009"));
  EXPECT_FALSE(fs::exists(c.checkpoint.path + "/latest.tmp.1234"));
  EXPECT_TRUE(fs::exists(c.checkpoint.path + "/step-000006"));
}

// robustness 10: a disk that is full while a checkpoint is written.
TEST_F(CheckpointTest, AFullDiskIsReportedAndLeavesThePreviousOne) {
  TrainConfig c = config();
  run(c);
  const CheckpointInfo info = find_checkpoint(c.checkpoint.path);
  const std::unique_ptr<Engine> holder = engine_of(info, c.model, {{0, 4}});
  Engine& engine = *holder;
  for (const rlim_t bytes : {4096, 400'000}) {  // within the weights, within the moments
    const FileSizeLimit limit(bytes);
    try {
      save_checkpoint(engine, info.config, 7, info.sampler);
      FAIL() << "it was saved";
    } catch (const RunError& error) {
      EXPECT_THAT(error.what(), HasSubstr(bytes == 4096 ? "model" : "optimizer"));
      EXPECT_THAT(error.what(), HasSubstr(".safetensors: cannot be written: File too large"));
    }
  }
  EXPECT_EQ(names(c.checkpoint.path), (std::set<std::string>{"latest", "lock", "step-000006"}));
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 6);
  save_checkpoint(engine, info.config, 7, info.sampler);
  EXPECT_EQ(names(c.checkpoint.path),
            (std::set<std::string>{"latest", "lock", "step-000006", "step-000007"}));
}

// What falls back on what: a run's own earlier steps, and nothing else.
TEST_F(CheckpointTest, FallbackAndRotationStayWithinTheRunThatLatestNames) {
  TrainConfig c = config();
  run(c);
  const std::string other = read_file(step_file("step-000006", "manifest.json"));
  c.training.steps = 3;
  c.training.seed = 5;
  c.checkpoint.every = 1;
  c.checkpoint.keep = 2;
  c.checkpoint.path = folder_ + "/second";
  run(c);
  // As if the first run's later step lay in the second's folder.
  fs::copy(folder_ + "/checkpoints/step-000006", c.checkpoint.path + "/step-000006");
  std::vector<std::string> notes;
  EXPECT_EQ(find_checkpoint(c.checkpoint.path, &notes).next_step, 3);
  EXPECT_TRUE(notes.empty());
  flip_byte(c.checkpoint.path + "/step-000003/model.safetensors", 5);
  EXPECT_EQ(find_checkpoint(c.checkpoint.path, &notes).next_step, 2) << "not ahead of latest";
  ASSERT_EQ(notes.size(), 1U);
  fs::copy(folder_ + "/checkpoints/step-000006", c.checkpoint.path + "/step-000001");
  flip_byte(c.checkpoint.path + "/step-000002/model.safetensors", 5);
  EXPECT_THROW(find_checkpoint(c.checkpoint.path), InputError) << "step 1 is another run's";
  flip_byte(c.checkpoint.path + "/step-000002/model.safetensors", 5);
  c.training.steps = 4;
  run(c, true);  // from step 2: rotation leaves what is not this run's
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 4);
  EXPECT_FALSE(fs::exists(c.checkpoint.path + "/step-000002"));
  EXPECT_EQ(read_file(c.checkpoint.path + "/step-000006/manifest.json"), other);
  EXPECT_TRUE(fs::exists(c.checkpoint.path + "/step-000001"));
}

TEST_F(CheckpointTest, AFreshRunNeedsAWordToTakeAnEarlierOnesPlace) {
  TrainConfig c = config();
  run(c);
  TrainOptions options = options_of(c);
  options.overwrite = false;
  const Said refused = listen(options);
  EXPECT_THAT(refused.error, HasSubstr("checkpoint.path: found an earlier run's checkpoints in "));
  EXPECT_THAT(refused.error, HasSubstr("--resume, or begin anew with --overwrite"));
  EXPECT_EQ(metrics_lines().size(), 6U);
  c.training.steps = 2;
  run(c);
  EXPECT_FALSE(fs::exists(folder_ + "/checkpoints/step-000006"));
  EXPECT_EQ(find_checkpoint(c.checkpoint.path).next_step, 2);
  EXPECT_EQ(metrics_lines().size(), 2U);
  EXPECT_TRUE(fs::exists(folder_ + "/metrics.jsonl.old"));
}

// One value that is not a number, however it came there, is neither loaded nor saved.
TEST_F(CheckpointTest, ValuesThatAreNotFiniteAreRefusedByName) {
  TrainConfig c = config();
  run(c);
  const CheckpointInfo info = find_checkpoint(c.checkpoint.path);
  const std::unique_ptr<Engine> holder = engine_of(info, c.model, {{0, 2}, {2, 4}});
  Engine& engine = *holder;
  const std::set<std::string> before = names(c.checkpoint.path);
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (const bool moment : {false, true}) {
      Engine::StateTensor state = engine.state()[7];
      const at::Tensor tensor = moment ? engine.moments(state).exp_avg_sq : state.parameter->master;
      const at::Tensor whole = tensor.clone();
      tensor.view({-1})[3] = value;
      try {
        save_checkpoint(engine, info.config, 7, info.sampler);
        FAIL() << "it was saved";
      } catch (const RunError& error) {
        EXPECT_THAT(error.what(), HasSubstr(std::string(moment ? "exp_avg_sq." : "not written: ") +
                                            state.parameter->name + " has a value that is not"));
      }
      EXPECT_EQ(names(c.checkpoint.path), before);
      tensor.copy_(whole);
    }
  }

  // Found on loading, in a file whose hash is right.
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    const std::string path = step_file("step-000006", file);
    const std::string original = read_file(path);
    std::string content = original;
    const float value = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(content.data() + content.size() - 4, &value, 4);
    write_file(path, content);
    const std::string manifest = step_file("step-000006", "manifest.json");
    Json json = read_json_file(manifest);
    for (Json& entry : json["files"]) {
      if (entry["name"] == file) entry["hash"] = hash_hex(content);
    }
    write_manifest(manifest, json);
    EXPECT_THAT(listen(options_of(c, true)).error,
                HasSubstr("found a value that is not finite, expected finite numbers"));
    write_file(path, original);
    for (Json& entry : json["files"]) {
      if (entry["name"] == file) entry["hash"] = hash_hex(original);
    }
    write_manifest(manifest, json);
  }
}

// robustness 13, for every command that loads one: each file cut and flipped at many places.
TEST_F(CheckpointTest, ADamagedFileIsNeverLoadedByAnyCommand) {
  TrainConfig c = config();
  c.checkpoint.every = 3;
  run(c);
  EvalOptions eval;
  eval.checkpoint = c.checkpoint.path;
  eval.sequences = 2;
  GenerateOptions generation;
  generation.checkpoint = c.checkpoint.path;
  generation.tokens = 1;
  std::vector<std::string> warnings;
  eval.warn = generation.warn = [&](const std::string& line) { warnings.push_back(line); };
  std::string said;
  generation.loaded = [&](const std::string& line) { said = line; };
  int tried = 0;
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "manifest.json"}) {
    const std::string path = step_file("step-000006", file);
    const std::string original = read_file(path);
    for (int i = 0; i < 8; ++i) {
      const std::size_t place = original.size() * static_cast<std::size_t>(i) / 8 + 3;
      std::string damaged = original;
      if (i % 2 == 0) {
        damaged[place] = static_cast<char>(damaged[place] ^ 4);
      } else {
        damaged.resize(place);
      }
      write_file(path, damaged);
      warnings.clear();
      EXPECT_EQ(evaluate(eval).next_step, 3) << file << " at " << place;
      ASSERT_EQ(warnings.size(), 1U) << file << " at " << place;
      EXPECT_THAT(warnings[0], HasSubstr("passed over "));
      EXPECT_THAT(warnings[0], HasSubstr(std::string("step-000006/") + file));
      ++tried;
    }
    warnings.clear();
    generate(generation);
    EXPECT_EQ(warnings.size(), 1U);
    EXPECT_THAT(said, HasSubstr("step-000003, step 3"));
    write_file(path, original);
  }
  EXPECT_EQ(tried, 24);
  warnings.clear();
  EXPECT_EQ(evaluate(eval).next_step, 6);
  EXPECT_TRUE(warnings.empty());
}

// A file that is cut or replaced between checking and loading: never a signal, never other bytes.
TEST_F(CheckpointTest, WhatIsLoadedIsWhatWasChecked) {
  TrainConfig c = config();
  run(c);
  Engine::Options options;
  options.model = c.model;
  options.stages = {{0, 4}};
  Engine engine(options);
  const std::string path = step_file("step-000006", "model.safetensors");
  const std::string original = read_file(path);
  const CheckpointInfo found = find_checkpoint(c.checkpoint.path);
  fs::resize_file(path, original.size() / 2);
  const at::Tensor before = engine.state()[0].parameter->master.clone();
  try {
    load_checkpoint(found, engine, true);
    FAIL() << "it was loaded";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("model.safetensors: was changed while it was in use"));
  }
  EXPECT_TRUE(before.equal(engine.state()[0].parameter->master));
  write_file(path, original);
  const CheckpointInfo again = find_checkpoint(c.checkpoint.path);
  write_file(path, "another file of that name");
  load_checkpoint(again, engine, true);
  EXPECT_FALSE(before.equal(engine.state()[0].parameter->master));
}

TEST_F(CheckpointTest, AnotherShapeIsRefusedAndNothingIsLoaded) {
  TrainConfig c = config();
  run(c);
  Engine::Options options;
  options.model = c.model;
  options.model.intermediate_size = 96;
  options.stages = {{0, 4}};
  Engine engine(options);
  const at::Tensor before = engine.state()[0].parameter->master.clone();
  try {
    load_checkpoint(find_checkpoint(c.checkpoint.path), engine, true);
    FAIL() << "it was loaded";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("mlp"));
    EXPECT_THAT(error.what(), HasSubstr("[64, 32], expected [96, 32]"));
  }
  EXPECT_TRUE(before.equal(engine.state()[0].parameter->master));
}

}  // namespace
}  // namespace infinipipe
