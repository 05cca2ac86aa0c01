#include "trainer/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/file.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"
#include "support/cache_home.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A cache of its own.
class CachedProfile : public ::testing::Test {
 protected:
  void SetUp() override {
    config_.model.vocab_size = 257;
    config_.model.hidden_size = 16;
    config_.model.intermediate_size = 32;
    config_.model.num_hidden_layers = 2;
    config_.model.num_attention_heads = 2;
    config_.model.num_key_value_heads = 1;
    config_.parallelism.stages = 1;
    config_.data.max_sequence_length = 256;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Profile resolve() {
    lines_.clear();
    return resolve_profile(
        config_, [this](const std::string& line) { lines_.push_back(line); }, 0.2);
  }

  TrainConfig config_;
  std::vector<std::string> lines_;
  std::string folder_ = (std::filesystem::path(::testing::TempDir()) /
                         ("infinipipe_cache." + std::to_string(::getpid())))
                            .string();
  CacheHome cache_{folder_};
};

TEST_F(CachedProfile, IsMeasuredOnce) {
  const std::string path = cached_profile_path(config_);
  EXPECT_THAT(path, StartsWith(folder_ + "/infinipipe/profiles/"));
  EXPECT_FALSE(std::filesystem::exists(path));
  const Profile measured = resolve();
  ASSERT_GE(lines_.size(), 4u);  // what it does, how far it is, where the result lies
  EXPECT_THAT(lines_.front(), HasSubstr("measuring for about"));
  for (std::size_t i = 1; i + 1 < lines_.size(); ++i) {
    EXPECT_THAT(lines_[i], HasSubstr("% of the time"));
  }
  EXPECT_THAT(lines_.back(), HasSubstr(path));
  EXPECT_EQ(measured.source, "measured");
  const std::string file = read_file(path);

  const Profile again = resolve();
  EXPECT_THAT(lines_, ElementsAre("profile " + path + ", measured before"));
  EXPECT_EQ(profile_hash(again), profile_hash(measured));
  EXPECT_EQ(read_file(path), file);
}

TEST_F(CachedProfile, ADamagedFileIsMeasuredAgain) {
  const std::string path = cached_profile_path(config_);
  resolve();
  const std::string file = read_file(path);
  Json negative = parse_json(file, "file");
  negative["forward"]["seconds_per_token"] = -1.0;
  for (const std::string& damage :
       {std::string(), file.substr(0, file.size() / 2), negative.dump()}) {
    write_file(path, damage);
    const Profile profile = resolve();
    ASSERT_GE(lines_.size(), 3u);
    EXPECT_THAT(lines_[0], HasSubstr(path));
    EXPECT_THAT(lines_[0], HasSubstr("measuring again"));
    EXPECT_THAT(lines_[1], HasSubstr("measuring for about"));
    EXPECT_THAT(lines_.back(), HasSubstr(path));
    EXPECT_EQ(profile_hash(read_profile(path)), profile_hash(profile)) << "written anew";
  }
}

TEST_F(CachedProfile, ACacheThatCannotBeWrittenIsSaidAndDoneWithout) {
  write_file(folder_, "where the folder should be");
  EXPECT_EQ(resolve().source, "measured");
  EXPECT_THAT(lines_.back(), HasSubstr("not kept for the next run"));
  EXPECT_EQ(read_file(folder_), "where the folder should be");
}

TEST_F(CachedProfile, OfTwoRunsAtOnceOneMeasures) {
  std::vector<std::vector<std::string>> lines(2);
  std::vector<std::string> hashes(2);
  std::vector<std::thread> runs;
  for (std::size_t i = 0; i < 2; ++i) {
    runs.emplace_back([&, i] {
      const auto log = [&lines, i](const std::string& line) { lines[i].push_back(line); };
      hashes[i] = profile_hash(resolve_profile(config_, log, 0.2));
    });
  }
  for (std::thread& run : runs) run.join();
  EXPECT_EQ(hashes[0], hashes[1]);
  const std::size_t other = lines[0].back().ends_with("measured before") ? 0 : 1;
  EXPECT_THAT(lines[other],
              ElementsAre("profile another run is measuring: waiting for it",
                          "profile " + cached_profile_path(config_) + ", measured before"));
}

TEST_F(CachedProfile, MeasuringStopsWhenAsked) {
  const std::atomic<bool> stop{true};
  EXPECT_THROW(resolve_profile(
                   config_, [](const std::string&) {}, 0.2, &stop),
               Stopped);
  EXPECT_FALSE(std::filesystem::exists(cached_profile_path(config_)));
}

TEST_F(CachedProfile, AGivenOrEstimatedOneNeedsNoCache) {
  const std::string given = folder_ + "/given.json";
  make_folder(folder_);
  write_file(given,
             profile_to_json(estimated_profile(config_.model, Dtype::kFloat32, 123e9)).dump());
  config_.cluster.profile = given;
  EXPECT_EQ(profile_hash(resolve()), profile_hash(read_profile(given)));
  config_.cluster.profile = "estimate";
  EXPECT_EQ(resolve().source, "estimated");
  config_.cluster.profile = folder_ + "/absent.json";
  EXPECT_THROW(resolve(), InputError);
  EXPECT_TRUE(lines_.empty());
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/infinipipe"));
}

TEST_F(CachedProfile, AFileOfAnotherModelOrTypeIsRefused) {
  const std::string given = folder_ + "/given.json";
  make_folder(folder_);
  Json json = profile_to_json(estimated_profile(config_.model, Dtype::kFloat32));
  write_file(given, json.dump());
  config_.cluster.profile = given;
  const auto refusal = [&]() -> std::string {
    try {
      resolve();
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(refusal(), "accepted");
  config_.model.hidden_size = 32;
  EXPECT_THAT(refusal(),
              HasSubstr("model.hidden_size: found 32, expected 16, which the figures of " + given +
                        " are for"));
  config_.model.hidden_size = 16;
  config_.training.dtype = Dtype::kBfloat16;
  EXPECT_THAT(refusal(), HasSubstr("training.dtype: found bfloat16, expected float32"));
  // One by an earlier version does not say its model.
  config_.training.dtype = Dtype::kFloat32;
  config_.model.hidden_size = 32;
  json.erase("model");
  write_file(given, json.dump());
  EXPECT_EQ(refusal(), "accepted");
}

// A measured one is of a model and a dtype, and says with what it was measured.
TEST_F(CachedProfile, AMeasuredOneIsForWhatItWasMeasuredOn) {
  const Profile measured = resolve();
  std::vector<std::string> warnings;
  const auto check = [&](const TrainConfig& config, const Profile& profile) -> std::string {
    warnings.clear();
    try {
      require_profile_of(config, profile, "p.json",
                         [&](const std::string& line) { warnings.push_back(line); });
    } catch (const InputError& error) {
      return error.what();
    }
    return {};
  };
  EXPECT_EQ(check(config_, measured), "");
  EXPECT_TRUE(warnings.empty());
  TrainConfig other = config_;
  other.model.intermediate_size = 64;
  EXPECT_THAT(check(other, measured), HasSubstr("p.json: was measured for layers of"));
  Profile estimated = measured;
  estimated.source = "given";
  EXPECT_EQ(check(other, estimated), "") << "the user's word";
  other = config_;
  other.training.dtype = Dtype::kBfloat16;
  EXPECT_THAT(check(other, measured),
              HasSubstr("training.dtype: found bfloat16, expected float32"));
  other = config_;
  other.runtime.threads_per_stage = 2;
  EXPECT_EQ(check(other, measured), "");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("with 1 thread(s) a stage instead of 2"));
  other = config_;
  other.parallelism.data_parallel = 2;
  other.runtime.communicator = CommunicatorKind::kGloo;
  EXPECT_EQ(check(other, measured), "");
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("with 1 replica(s) instead of 2, between threads instead of "
                                     "processes"));
  Json json = profile_to_json(measured);
  json["measured_with"]["code"] = "an older one";
  json["machine"] = "a larger one";
  EXPECT_EQ(check(config_, profile_from_json(json, "p.json")), "");
  ASSERT_EQ(warnings.size(), 1u) << "one, whatever differs";
  EXPECT_THAT(warnings[0], HasSubstr("by another version of this program, on another machine (a "
                                     "larger one)"));
}

TEST_F(CachedProfile, EveryPartOfTheKeyCounts) {
  std::set<std::string> paths = {cached_profile_path(config_)};
  const auto changed = [&](void (*change)(TrainConfig&)) {
    TrainConfig config = config_;
    change(config);
    return paths.insert(cached_profile_path(config)).second;
  };
  EXPECT_TRUE(changed([](TrainConfig& c) { c.model.intermediate_size = 48; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.training.dtype = Dtype::kBfloat16; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.parallelism.stages = 2; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.runtime.threads_per_stage = 2; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.parallelism.layers_per_stage = {2}; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.runtime.pooled_allocator = false; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.runtime.device = Device::kCuda; }));
  EXPECT_TRUE(changed([](TrainConfig& c) { c.data.max_sequence_length = 512; }));
  EXPECT_FALSE(changed([](TrainConfig& c) { c.optimizer.lr = 0.5; })) << "does not change times";
  EXPECT_FALSE(changed([](TrainConfig& c) { c.training.seed = 77; }));
}

TEST_F(CachedProfile, WithoutXdgTheHomeFolderHasIt) {
  ::unsetenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string expected = home != nullptr ? home : ".";
  EXPECT_THAT(cached_profile_path(config_), StartsWith(expected + "/.cache/infinipipe/profiles/"));
}

TEST(ProfileOptions, FollowTheConfiguration) {
  TrainConfig config;
  config.model.num_hidden_layers = 5;
  config.training.dtype = Dtype::kBfloat16;
  config.parallelism.stages = 2;
  config.parallelism.layers_per_stage = std::vector<int>{2, 3};
  config.runtime.threads_per_stage = 3;
  config.runtime.pooled_allocator = false;
  config.data.max_sequence_length = 777;
  const ProfileOptions options = profile_options(config);
  EXPECT_EQ(options.engine.stages, (std::vector<LayerRange>{{0, 2}, {2, 5}}));
  EXPECT_EQ(options.engine.dtype, Dtype::kBfloat16);
  EXPECT_EQ(options.engine.threads_per_stage, 3);
  EXPECT_FALSE(options.engine.pooled_allocator);
  EXPECT_EQ(options.engine.longest, 777);
  config.parallelism.layers_per_stage.reset();
  config.parallelism.stages = 9;
  EXPECT_THROW(profile_options(config), InputError);
}

}  // namespace
}  // namespace infinipipe
