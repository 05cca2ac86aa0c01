// Models from Hugging Face's folders into training and out again.
#include <ATen/core/Tensor.h>
#include <ATen/ops/_to_copy.h>
#include <ATen/ops/empty.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/model_tensors.h"
#include "data/model_folder.h"
#include "system/training/fixture.h"
#include "trainer/weights.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::HasSubstr;

std::set<std::string> names(const std::string& folder) {
  std::set<std::string> all;
  for (const auto& entry : fs::directory_iterator(folder)) {
    all.insert(entry.path().filename().string());
  }
  return all;
}

class ImportExportTest : public TrainingTest {
 protected:
  void SetUp() override {
    TrainingTest::SetUp();
    model_ = config().model;
    model_.family = ModelFamily::kQwen3;
    model_.max_position_embeddings = 512;
    make_folder(hf());
    write_config(model_to_json(model_));
    write_file(hf() + "/tokenizer.json", "{\"a\": \"tokenizer\"}");
    write_file(hf() + "/generation_config.json", "{\"eos_token_id\": [256, 7]}");
    write_file(hf() + "/README.md", "not of the model");
    write_weights();
  }

  std::string hf() const { return folder_ + "/hf"; }
  std::string out() const { return folder_ + "/out"; }
  std::string checkpoints() const { return folder_ + "/imported"; }

  void write_config(Json json) const {
    json["eos_token_id"] = {256, 7};
    json["dtype"] = "bfloat16";
    json["mystery"] = 5;
    write_file(hf() + "/config.json", json.dump());
  }
  // Random bfloat16, in two shards.
  void write_weights() const {
    Random random(5);
    std::vector<TensorInfo> all;
    for (const ModelTensor& each : model_tensors(model_))
      all.push_back({each.name, "BF16", each.shape});
    Json map = Json::object();
    for (int half = 0; half < 2; ++half) {
      const std::string file = half == 0 ? "first.safetensors" : "second.safetensors";
      std::vector<TensorInfo> mine(all.begin() + (half == 0 ? 0 : 7),
                                   half == 0 ? all.begin() + 7 : all.end());
      SafetensorsWriter writer(hf() + "/" + file, mine);
      for (const TensorInfo& info : mine) {
        map[info.name] = file;
        std::int64_t count = 1;
        for (const std::int64_t size : info.shape) count *= size;
        at::Tensor values = at::empty({count}, at::dtype(at::kFloat));
        for (std::int64_t i = 0; i < count; ++i) {
          values.data_ptr<float>()[i] = static_cast<float>(0.1 * random.normal());
        }
        values = values.to(at::kBFloat16);
        writer.write_tensor(info.name, {static_cast<const std::byte*>(values.const_data_ptr()),
                                        static_cast<std::size_t>(values.nbytes())});
      }
      writer.finish();
    }
    write_file(hf() + "/model.safetensors.index.json", Json{{"weight_map", map}}.dump());
  }

  ImportOptions import_options() const {
    ImportOptions options;
    options.folder = hf();
    options.out = checkpoints();
    return options;
  }
  ExportOptions export_options(const std::string& from) const {
    ExportOptions options;
    options.checkpoint = from;
    options.out = out();
    return options;
  }
  static std::string refusal(const auto& act) {
    try {
      act();
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
  // Bytes and dtype of every tensor of a folder.
  static std::map<std::string, std::pair<std::string, std::vector<std::byte>>> tensors(
      const std::string& folder) {
    const ModelFolder model(folder);
    std::map<std::string, std::pair<std::string, std::vector<std::byte>>> all;
    for (const ModelTensor& each : model_tensors(model.model())) {
      const TensorFiles::Place place = model.at(each.name);
      all[each.name] = {place.tensor->info.dtype, place.file->read(*place.tensor)};
    }
    return all;
  }
  TrainConfig from(const std::string& folder) const {
    TrainConfig c = config();
    set_config(c, "model.from", folder, "test");
    if (folder == hf()) {
      EXPECT_EQ(c.data.tokenizer, hf() + "/tokenizer.json");
    }
    c.data.tokenizer = "byte";  // the folder's is none
    return c;
  }

  ModelSpec model_;
};

TEST_F(ImportExportTest, WhatComesInGoesOut) {
  std::vector<std::string> warnings;
  ImportOptions import = import_options();
  import.warn = [&](const std::string& line) { warnings.push_back(line);
};
const ImportResult imported = import_model(import);
EXPECT_EQ(imported.checkpoint, checkpoints() + "/step-000000");
EXPECT_EQ(imported.dtype, "bfloat16");
EXPECT_EQ(imported.changes, "");
EXPECT_THAT(warnings, ::testing::ElementsAre(HasSubstr("config.json: mystery is not known here")));
EXPECT_EQ(names(checkpoints()), (std::set<std::string>{"latest", "lock", "step-000000"}));
EXPECT_EQ(names(imported.checkpoint),
          (std::set<std::string>{"config.json", "generation_config.json", "manifest.json",
                                 "model.safetensors", "tokenizer.json"}));
EXPECT_EQ(tensors(imported.checkpoint), tensors(hf()));

for (const double shard : {5e10, 20000.0}) {
  fs::remove_all(out());
  ExportOptions options = export_options(checkpoints());
  options.max_shard_bytes = shard;
  const ExportResult exported = export_model(options);
  EXPECT_EQ(exported.dtype, "bfloat16");
  EXPECT_TRUE(exported.has_tokenizer);
  EXPECT_EQ(fs::exists(out() + "/model.safetensors.index.json"), shard < 1e9);
  EXPECT_EQ(tensors(out()), tensors(hf()));
  EXPECT_EQ(read_file(out() + "/tokenizer.json"), read_file(hf() + "/tokenizer.json"));
  EXPECT_EQ(read_file(out() + "/generation_config.json"),
            read_file(hf() + "/generation_config.json"));
  const Json json = read_json_file(out() + "/config.json");
  EXPECT_EQ(json["eos_token_id"], Json({256, 7}));
  EXPECT_EQ(json["mystery"], 5);
  EXPECT_EQ(json["max_position_embeddings"], 512);
  EXPECT_EQ(json["torch_dtype"], "bfloat16");
  for (const auto& entry : fs::directory_iterator(out())) {
    if (entry.path().extension() == ".safetensors" && shard < 1e9) {
      EXPECT_LT(fs::file_size(entry), 26000U);  // one tensor, or two that fit
    }
  }
}
}  // namespace

// Step 0 of an import, model.from and transformers' own tensors all begin the same training.
TEST_F(ImportExportTest, TrainingBeginsWithTheWeights) {
  const std::vector<StepMetrics> direct = run(from(hf()));
  ASSERT_EQ(direct.size(), 6U);
  import_model(import_options());
  TrainConfig resumed = config();
  resumed.model = ModelFolder(hf()).model();
  resumed.checkpoint.path = checkpoints();
  const std::vector<StepMetrics> imported = run(resumed, /*resume=*/true);
  const std::vector<StepMetrics> chained = run(from(folder_ + "/imported/step-000000"));
  ASSERT_EQ(imported.size(), 6U);
  for (std::size_t i = 0; i < direct.size(); ++i) {
    EXPECT_EQ(imported[i].loss, direct[i].loss);
    EXPECT_EQ(chained[i].loss, direct[i].loss);
  }
  TrainConfig fresh = config();
  fresh.model = resumed.model;
  EXPECT_NE(run(fresh)[0].loss, direct[0].loss);
  // What came with the model is in every later checkpoint, and out again in its first dtype.
  const std::string last = checkpoints() + "/step-000006";
  EXPECT_THAT(names(last), Contains("tokenizer.json"));
  EXPECT_EQ(read_json_file(last + "/config.json")["dtype"], "float32");
  EXPECT_EQ(export_model(export_options(checkpoints())).dtype, "bfloat16");
  EXPECT_NE(tensors(out()), tensors(hf()));
}

// A whole run and one in two parts, of which the second finds the source gone.
TEST_F(ImportExportTest, ARunFromAFolderResumesWithoutIt) {
  TrainConfig c = from(hf());
  set_config(c, "model.rope.type", "yarn", "test");
  set_config(c, "model.rope.factor", "4", "test");
  const std::vector<StepMetrics> whole = run(c);
  c.training.steps = 3;
  run(c);
  fs::remove_all(hf());
  c.training.steps = 6;
  c.settle();
  const std::vector<StepMetrics> rest = run(c, /*resume=*/true);
  ASSERT_EQ(rest.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(rest[i].loss, whole[i + 3].loss);
}

TEST_F(ImportExportTest, ANewRopeIsSaidAndExported) {
  TrainConfig c = from(hf());
  set_config(c, "model.rope.type", "yarn", "test");
  set_config(c, "model.rope.factor", "4", "test");
  const Said said = listen(options_of(c));
  EXPECT_EQ(said.error, "");
  EXPECT_THAT(said.log, Contains(HasSubstr("changed max_position_embeddings 512 -> 2048, rope.type "
                                           "default -> yarn, rope.factor 1 -> 4, "
                                           "rope.original_max_position_embeddings 0 -> 512")));
  export_model(export_options(c.checkpoint.path));
  const ModelSpec exported = ModelFolder(out()).model();
  EXPECT_EQ(exported.rope.type, RopeType::kYarn);
  EXPECT_EQ(exported.max_position_embeddings, 2048);
  // The same on import.
  ImportOptions import = import_options();
  import.configure = [](TrainConfig base) { set_config(base, "model.rope.theta", "70000", "test");
  return base;
};
EXPECT_EQ(import_model(import).changes, "rope_theta 10000 -> 70000");
}  // namespace infinipipe

// A model that began here is one for other tools as well: where its texts end, how long it is for.
TEST_F(ImportExportTest, ANewModelsCheckpointsAreHuggingFaceFolders) {
  TrainConfig c = config();
  c.training.dtype = Dtype::kFloat64;
  run(c);
  const std::string last = c.checkpoint.path + "/step-000006";
  const Json json = read_json_file(last + "/config.json");
  EXPECT_EQ(json["eos_token_id"], 256);
  EXPECT_EQ(json["max_position_embeddings"], 512);  // data.max_sequence_length
  EXPECT_EQ(json["dtype"], "float64");
  const ModelFolder folder(last);
  EXPECT_NO_THROW(folder.require_tensors_of(folder.model()));
  const ExportResult exported = export_model(export_options(c.checkpoint.path));
  EXPECT_FALSE(exported.has_tokenizer);
  EXPECT_EQ(exported.dtype, "float64");
  EXPECT_EQ(run(from(out()))[0].loss, run(from(c.checkpoint.path))[0].loss);
}

TEST_F(ImportExportTest, NothingHalfWrittenIsLeft) {
  std::atomic<bool> stop = true;
  ImportOptions import = import_options();
  import.stop = &stop;
  EXPECT_THAT(refusal([&] { import_model(import); }), HasSubstr("stopped before it was done"));
  EXPECT_EQ(names(checkpoints()), std::set<std::string>{"lock"});
  import.stop = nullptr;
  import_model(import);
  ExportOptions options = export_options(checkpoints());
  options.stop = &stop;
  EXPECT_THAT(refusal([&] { export_model(options); }), HasSubstr("stopped before it was done"));
  EXPECT_FALSE(fs::exists(out()));
  EXPECT_FALSE(fs::exists(out() + ".tmp"));
}

TEST_F(ImportExportTest, WhatCannotBeIsRefused) {
  EXPECT_THAT(refusal([&] { export_model(export_options(hf())); }), HasSubstr("no checkpoint"));
  import_model(import_options());
  EXPECT_THAT(refusal([&] { import_model(import_options()); }),
              HasSubstr("import: --out: found checkpoints in"));
  make_folder(out());
  write_file(out() + "/precious", "x");
  EXPECT_THAT(refusal([&] { export_model(export_options(checkpoints())); }),
              HasSubstr("which is not empty"));
  EXPECT_EQ(read_file(out() + "/precious"), "x");
  fs::remove(out() + "/precious");
  ExportOptions options = export_options(checkpoints());
  options.dtype = "int8";
  EXPECT_THAT(refusal([&] { export_model(options); }), HasSubstr("--dtype: found 'int8'"));
  // A file that goes along is looked at like the weights.
  const std::string tokenizer = checkpoints() + "/step-000000/tokenizer.json";
  write_file(tokenizer, "{\"a\": \"tokenizes\"}");
  EXPECT_THAT(refusal([&] { export_model(export_options(checkpoints())); }),
              HasSubstr(tokenizer + ": checksum is "));

  TrainConfig c = from(hf());
  c.model.hidden_size = 64;
  EXPECT_THAT(listen(options_of(c)).error, HasSubstr("found shape [257, 32], expected [257, 64]"));
  EXPECT_FALSE(fs::exists(c.checkpoint.path));
  EXPECT_THAT(refusal([&] { from(folder_ + "/nowhere"); }), HasSubstr("has no config.json"));
}

TEST_F(ImportExportTest, AValueThatIsNotFiniteIsNamed) {
  const ModelFolder model(hf());
  const TensorFiles::Place place = model.at("model.norm.weight");
  std::string bytes = read_file(place.file->path());
  bytes[place.tensor->offset] = '\x80';  // an infinity in bfloat16
  bytes[place.tensor->offset + 1] = '\x7f';
  write_file(place.file->path(), bytes);
  EXPECT_THAT(refusal([&] { import_model(import_options()); }),
              HasSubstr("model.norm.weight: found a value that is not finite"));
  EXPECT_EQ(names(checkpoints()), std::set<std::string>{"lock"});
  EXPECT_THAT(listen(options_of(from(hf()))).error, HasSubstr("model.norm.weight"));
}

}  // namespace
}  // namespace infinipipe
