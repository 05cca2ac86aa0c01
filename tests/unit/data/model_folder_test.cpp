#include "data/model_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/model_tensors.h"
#include "infinipipe/base/error.h"
#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

class ModelFolderTest : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    model_.vocab_size = 11;
    model_.hidden_size = 8;
    model_.intermediate_size = 6;
    model_.num_hidden_layers = 2;
    model_.num_attention_heads = 2;
    model_.num_key_value_heads = 1;
    set_tensors();
    write_config(model_to_json(model_));
  }

  void set_tensors() {
    tensors_.clear();
    for (const ModelTensor& tensor : model_tensors(model_)) {
      tensors_.push_back({tensor.name, "BF16", tensor.shape});
    }
  }
  void write_config(const Json& json) const { put("config.json", json.dump()); }
  void write(const std::string& name, const std::vector<TensorInfo>& tensors) const {
    SafetensorsWriter writer(in(name), tensors);
    for (const TensorInfo& tensor : tensors) {
      std::size_t bytes = tensor_dtype_width(tensor.dtype);
      for (const std::int64_t size : tensor.shape) bytes *= static_cast<std::size_t>(size);
      const std::vector<std::byte> zeros(bytes);
      writer.write_tensor(tensor.name, zeros);
    }
    writer.finish();
  }
  void write_whole() const { write("model.safetensors", tensors_); }
  // The first `first` tensors in a.safetensors, the others in b.safetensors.
  Json write_shards(std::size_t first) const {
    const auto middle = tensors_.begin() + static_cast<std::ptrdiff_t>(first);
    write("a.safetensors", {tensors_.begin(), middle});
    write("b.safetensors", {middle, tensors_.end()});
    Json map = Json::object();
    for (auto each = tensors_.begin(); each != tensors_.end(); ++each) {
      map[each->name] = each < middle ? "a.safetensors" : "b.safetensors";
    }
    write_index(map);
    return map;
  }
  void write_index(const Json& map) const {
    put("model.safetensors.index.json", Json{{"weight_map", map}}.dump());
  }
  std::string refusal() const {
    return error_of([&] {
      const ModelFolder folder(folder_);
      folder.require_tensors_of(folder.model());
    });
  }
  TensorInfo& tensor(const std::string& name) {
    return *std::find_if(tensors_.begin(), tensors_.end(),
                         [&](const TensorInfo& each) { return each.name == name; });
  }

  ModelSpec model_;
  std::vector<TensorInfo> tensors_;
};

TEST_F(ModelFolderTest, OneFileOrShardsGiveTheSame) {
  write_shards(5);
  const ModelFolder sharded(folder_);
  EXPECT_EQ(sharded.model().resolved_head_dim(), 4);
  EXPECT_NO_THROW(sharded.require_tensors_of(sharded.model()));
  EXPECT_EQ(sharded.at("lm_head.weight").file->path(), in("b.safetensors"));
  write_whole();
  const ModelFolder whole(folder_);  // one file goes before shards, as in transformers
  EXPECT_NO_THROW(whole.require_tensors_of(whole.model()));
  EXPECT_EQ(whole.at("lm_head.weight").file->path(), in("model.safetensors"));
  EXPECT_EQ(whole.at("lm_head.weight").tensor->info.shape, (std::vector<std::int64_t>{11, 8}));
}

TEST_F(ModelFolderTest, EveryFamilysTensorsAreKnown) {
  for (const FamilyRow& family : kFamilies) {
    for (const bool tied : {false, true}) {
      model_.family = family.value;
      model_.tie_word_embeddings = tied;
      set_tensors();
      write_config(model_to_json(model_));
      write_whole();
      const ModelFolder folder(folder_);
      EXPECT_NO_THROW(folder.require_tensors_of(folder.model())) << family.name;
    }
  }
}

TEST_F(ModelFolderTest, WhatOlderFilesHoldBesideIsLetBe) {
  model_.tie_word_embeddings = true;
  write_config(model_to_json(model_));
  tensors_.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", "F32", {2}});
  write_whole();  // with the tied head
  const ModelFolder folder(folder_);
  EXPECT_NO_THROW(folder.require_tensors_of(folder.model()));
}

TEST_F(ModelFolderTest, WrongTensorsAreNamed) {
  const std::vector<TensorInfo> good = tensors_;
  tensors_.erase(tensors_.begin() + 3);
  write_whole();
  EXPECT_THAT(refusal(), HasSubstr("has no tensor \"model.layers.0.self_attn.k_proj.weight\""));
  tensors_ = good;
  tensors_.push_back({"model.layers.2.input_layernorm.weight", "F32", {8}});
  tensors_.push_back({"score.weight", "F32", {8}});
  write_whole();
  EXPECT_THAT(refusal(), HasSubstr("model.layers.2.input_layernorm.weight: is no tensor of a llama "
                                   "model, nor are 1 more"));
  tensors_ = good;
  tensor("model.embed_tokens.weight").shape = {12, 8};
  write_whole();
  EXPECT_THAT(refusal(), HasSubstr("model.safetensors: model.embed_tokens.weight: found shape "
                                   "[12, 8], expected [11, 8], as config.json says"));
  tensors_ = good;
  tensor("model.norm.weight").dtype = "I32";
  write_whole();
  EXPECT_THAT(refusal(), HasSubstr("model.norm.weight: found dtype I32, expected BF16, F16, F32"));
}

TEST_F(ModelFolderTest, ShardsThatDoNotFitTheirIndexAreRefused) {
  const Json good = write_shards(5);
  const auto with = [&](const std::string& tensor, const Json& file) {
    Json map = good;
    map[tensor] = file;
    write_index(map);
    return refusal();
  };
  EXPECT_THAT(with("lm_head.weight", "../b.safetensors"),
              HasSubstr("expected the name of a file in the same folder"));
  EXPECT_THAT(with("lm_head.weight", "a.safetensors"),
              HasSubstr("names a.safetensors, but it stands in " + in("b.safetensors")));
  EXPECT_THAT(with("ghost", "a.safetensors"),
              HasSubstr("names a.safetensors, which does not hold it"));
  EXPECT_THAT(with("lm_head.weight", "c.safetensors"), HasSubstr("c.safetensors"));
  EXPECT_THAT(with("lm_head.weight", 7), HasSubstr("index.json"));
  Json map = good;
  map.erase("lm_head.weight");
  write_index(map);
  EXPECT_THAT(refusal(), HasSubstr("is not in model.safetensors.index.json"));
  write_index(good);
  write("b.safetensors", tensors_);
  EXPECT_THAT(refusal(), HasSubstr("stands in " + in("a.safetensors") + " too"));
}

TEST_F(ModelFolderTest, FoldersThatAreNoModelAreRefused) {
  EXPECT_THAT(refusal(), HasSubstr("has no model.safetensors and no model.safetensors.index.json"));
  put("pytorch_model.bin", "x");
  EXPECT_THAT(refusal(), HasSubstr("pickled format"));
  Json json = model_to_json(model_);
  json.erase("num_attention_heads");
  write_config(json);
  EXPECT_THAT(refusal(), HasSubstr("num_attention_heads: found nothing"));
  put("config.json", std::string(100, '['));
  EXPECT_THAT(refusal(), HasSubstr("config.json"));
  std::filesystem::remove(in("config.json"));
  EXPECT_THAT(refusal(), HasSubstr("config.json"));
  EXPECT_THAT(error_of([&] { ModelFolder{in("nowhere")}; }), HasSubstr("is no folder"));
}

}  // namespace
}  // namespace infinipipe
