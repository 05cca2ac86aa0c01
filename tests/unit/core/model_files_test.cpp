// Where a model's files are, and keys that read them.
#include "core/model_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/config.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

class ModelFolderPath : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    make_folder(folder_ + "/step-000007");
    write_file(folder_ + "/step-000007/config.json",
               model_to_json(model_preset("qwen3-0.6b")).dump());
    write_file(folder_ + "/latest", "step-000007\n");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string folder_ = ::testing::TempDir() + "/infinipipe_model_folder_path";
};

TEST_F(ModelFolderPath, IsTheFolderOrWhatItsLatestNames) {
  EXPECT_EQ(model_folder(folder_), folder_ + "/step-000007");
  EXPECT_EQ(model_folder(folder_ + "/step-000007"), folder_ + "/step-000007");
  EXPECT_EQ(read_model(model_folder(folder_)).family, ModelFamily::kQwen3);
  write_file(folder_ + "/latest", "../elsewhere\n");
  EXPECT_EQ(model_folder(folder_), folder_);  // a name leads out of no folder
}

TEST_F(ModelFolderPath, FromComesBeforeTheOtherKeysWhereverItStands) {
  const TrainConfig config = config_from_toml(
      "[model.rope]\ntype = \"yarn\"\nfactor = 2.0\ntheta = 5e5\n[model]\nrms_norm_eps = 1e-4\n"
      "from = \"" +
          folder_ + "\"\n[data]\npath = \"x\"\n",
      "c.toml");
  EXPECT_EQ(config.model.family, ModelFamily::kQwen3);
  EXPECT_EQ(config.model.rope.type, RopeType::kYarn);
  EXPECT_EQ(config.model.rope_theta, 5e5);
  EXPECT_EQ(config.model.rms_norm_eps, 1e-4);
  EXPECT_EQ(config.model_before, read_model(model_folder(folder_)));
  TrainConfig settled = config;
  settled.settle();
  EXPECT_EQ(settled.model.rope.original_max_position_embeddings, 40960);
  EXPECT_EQ(settled.model.max_position_embeddings, 81920);
}

TEST_F(ModelFolderPath, TheTokenizerBesideIsTakenUnlessAnotherWasSaid) {
  write_file(folder_ + "/step-000007/tokenizer.json", "{}");
  TrainConfig config;
  set_config(config, "model.from", folder_, "test");
  EXPECT_EQ(config.data.tokenizer, folder_ + "/step-000007/tokenizer.json");
  TrainConfig other;
  set_config(other, "data.tokenizer", "mine.model", "test");
  set_config(other, "model.from", folder_, "test");
  EXPECT_EQ(other.data.tokenizer, "mine.model");
}

// What a checkpoint says of its own origin is not read again; a preset takes its place.
TEST_F(ModelFolderPath, APresetAndAFolderTakeEachOthersPlace) {
  TrainConfig config;
  set_config(config, "model.preset", "tiny", "test");
  set_config(config, "model.from", folder_, "test");
  EXPECT_EQ(config.model_preset, "");
  std::filesystem::remove_all(folder_);
  set_config(config, "model.from", folder_, "test");  // as it is already
  set_config(config, "model.preset", "tiny", "test");
  EXPECT_EQ(config.model_from, "");
  try {
    set_config(config, "model.from", folder_, "test");
    ADD_FAILURE();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("has no config.json"));
  }
}

}  // namespace
}  // namespace infinipipe
