#include "infinipipe/core/model_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

std::string error_of(const auto& act) {
  try {
    act();
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ModelSpec, PresetsHaveThePublishedParameterCounts) {
  EXPECT_EQ(model_preset("llama-7b").parameters(), 6738415616);
  EXPECT_EQ(model_preset("llama-13b").parameters(), 13015864320);
  EXPECT_EQ(model_preset("llama-30b").parameters(), 32528943616);
  EXPECT_EQ(model_preset("llama-3-8b").parameters(), 8030261248);
  EXPECT_EQ(model_preset("llama-3-70b").parameters(), 70553706496);
  EXPECT_EQ(model_preset("llama-3.2-1b").parameters(), 1235814400);
  EXPECT_EQ(model_preset("llama-3.2-3b").parameters(), 3212749824);
  EXPECT_EQ(model_preset("llama-3.1-8b").parameters(), 8030261248);
  EXPECT_EQ(model_preset("smollm2-135m").parameters(), 134515008);
  EXPECT_EQ(model_preset("mistral-7b-v0.3").parameters(), 7248023552);
  EXPECT_EQ(model_preset("qwen2.5-0.5b").parameters(), 494032768);
  EXPECT_EQ(model_preset("qwen2.5-7b").parameters(), 7615616512);
  EXPECT_EQ(model_preset("qwen3-0.6b").parameters(), 596049920);
  EXPECT_EQ(model_preset("qwen3-8b").parameters(), 8190735360);
  EXPECT_EQ(model_preset("7b"), model_preset("llama-7b"));
  EXPECT_NEAR(static_cast<double>(model_preset("tiny").parameters()), 0.9e6, 0.1e6);
  EXPECT_NEAR(static_cast<double>(model_preset("25m").parameters()), 25e6, 2e6);
  for (const std::string& name : model_preset_names()) EXPECT_NO_THROW(model_preset(name).check());
}

TEST(ModelSpec, UnknownPresetNamesTheNearest) {
  EXPECT_EQ(error_of([] { model_preset("lama-7b"); }).find("model.preset: found 'lama-7b'"), 0U);
  EXPECT_THAT(error_of([] { model_preset("lama-7b"); }), HasSubstr("did you mean llama-7b?"));
  EXPECT_THAT(error_of([] { model_preset("tyni"); }), HasSubstr("did you mean tiny?"));
  EXPECT_THAT(error_of([] { model_preset("gpt-neox-20b"); }), HasSubstr("expected one of tiny, "));
}

TEST(ModelSpec, CountsParametersAsTheTensorsAre) {
  ModelSpec model{.vocab_size = 11,
                  .hidden_size = 8,
                  .intermediate_size = 5,
                  .num_hidden_layers = 3,
                  .num_attention_heads = 4,
                  .num_key_value_heads = 2,
                  .head_dim = 6};
  EXPECT_EQ(model.query_width(), 24);
  EXPECT_EQ(model.kv_width(), 12);
  const std::int64_t layer = 8 * 24 + 8 * 12 + 8 * 12 + 24 * 8 + 3 * 8 * 5 + 8 + 8;
  EXPECT_EQ(model.parameters_per_layer(), layer);
  EXPECT_EQ(model.parameters(), 3 * layer + 11 * 8 + 8 + 11 * 8);
  model.tie_word_embeddings = true;
  EXPECT_EQ(model.parameters(), 3 * layer + 11 * 8 + 8);
}

TEST(ModelSpec, FamilyIsReadAndWrittenByName) {
  Json json = model_to_json(model_preset("tiny"));
  EXPECT_EQ(json["model_type"], "llama");
  EXPECT_EQ(json["architectures"], Json({"LlamaForCausalLM"}));
  EXPECT_EQ(model_from_json(JsonView(json, "config.json")).family, ModelFamily::kLlama);
  json.erase("model_type");
  EXPECT_EQ(model_from_json(JsonView(json, "config.json")).family, ModelFamily::kLlama);
}

TEST(ModelSpec, CheckNamesWhatCannotBe) {
  const auto check = [](const auto& change) {
    ModelSpec model;
    change(model);
    return error_of([&] { model.check(); });
  };
  EXPECT_EQ(check([](ModelSpec&) {}), "accepted");
  EXPECT_THAT(check([](ModelSpec& m) { m.vocab_size = 0; }),
              HasSubstr("model.vocab_size: found 0"));
  EXPECT_THAT(check([](ModelSpec& m) { m.hidden_size = -4; }), HasSubstr("model.hidden_size"));
  EXPECT_THAT(check([](ModelSpec& m) { m.intermediate_size = 0; }),
              HasSubstr("model.intermediate_size"));
  EXPECT_THAT(check([](ModelSpec& m) { m.num_hidden_layers = 0; }),
              HasSubstr("model.num_hidden_layers"));
  EXPECT_THAT(check([](ModelSpec& m) { m.num_attention_heads = 0; }),
              HasSubstr("model.num_attention_heads"));
  EXPECT_THAT(check([](ModelSpec& m) {
                m.num_attention_heads = 3;
                m.num_key_value_heads = 3;
              }),
              HasSubstr("found 256 with num_attention_heads 3, expected a multiple of"));
  EXPECT_EQ(check([](ModelSpec& m) {
              m.num_attention_heads = 8;
              m.num_key_value_heads = 3;
            }),
            "model.num_attention_heads: found 8 with num_key_value_heads 3, expected a multiple of "
            "num_key_value_heads");
  EXPECT_THAT(check([](ModelSpec& m) { m.num_key_value_heads = 0; }),
              HasSubstr("model.num_key_value_heads"));
  EXPECT_THAT(check([](ModelSpec& m) { m.head_dim = 33; }), HasSubstr("model.head_dim: found 33"));
  EXPECT_THAT(check([](ModelSpec& m) { m.rope_theta = 0; }), HasSubstr("model.rope_theta"));
  EXPECT_THAT(check([](ModelSpec& m) { m.rms_norm_eps = -1; }), HasSubstr("model.rms_norm_eps"));
  EXPECT_THAT(check([](ModelSpec& m) { m.initializer_range = 1.0 / 0.0; }),
              HasSubstr("model.initializer_range"));
}

TEST(ModelSpec, ReadsHuggingFaceConfigs) {
  const ModelSpec model = model_preset("8b");
  const Json json = model_to_json(model);
  ModelSpec again = model_from_json(JsonView(json, "config.json"));
  EXPECT_EQ(again.resolved_head_dim(), 128);
  again.head_dim = model.head_dim;
  EXPECT_EQ(again, model);

  const auto read = [&](const std::string& patch) {
    Json changed = json;
    changed.merge_patch(Json::parse(patch));
    return model_from_json(JsonView(changed, "config.json"));
  };
  EXPECT_EQ(read(R"({"num_key_value_heads": null})").num_key_value_heads, 32);
  EXPECT_EQ(read(R"({"head_dim": null})").resolved_head_dim(), 128);
  EXPECT_EQ(read(R"({"torch_dtype": "bfloat16", "bos_token_id": 1})").vocab_size, 128256);
  EXPECT_EQ(read(R"({"rope_theta": null, "rope_parameters": {"rope_theta": 7.0}})").rope_theta,
            7.0);

  const auto refusal = [&](const std::string& patch) { return error_of([&] { read(patch); }); };
  EXPECT_EQ(refusal(R"({"model_type": "gpt2"})"),
            "config.json: model_type: found \"gpt2\", expected \"llama\", \"mistral\", "
            "\"qwen2\" or \"qwen3\"");
  EXPECT_THAT(refusal(R"({"hidden_act": "gelu"})"), HasSubstr("hidden_act: found \"gelu\""));
  EXPECT_THAT(refusal(R"({"attention_bias": true})"), HasSubstr("attention_bias: found true"));
  EXPECT_THAT(refusal(R"({"rope_scaling": {"rope_type": "longrope", "factor": 8.0}})"),
              HasSubstr("rope_scaling.rope_type: found \"longrope\", expected one of default, "));
  EXPECT_THAT(refusal(R"({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}})"),
              HasSubstr("rope_scaling.low_freq_factor: found nothing"));
  EXPECT_THAT(refusal(R"({"rope_scaling": {"rope_type": "yarn", "factor": 0.5}})"),
              HasSubstr("model.rope.factor: found 0.5"));
  EXPECT_THAT(refusal(R"({"rope_scaling": "yarn"})"), HasSubstr("expected an object"));
  EXPECT_THAT(
      refusal(R"({"sliding_window": 4096})"),
      HasSubstr("sliding_window: found 4096, expected full attention with model_type llama"));
  EXPECT_THAT(refusal(R"({"layer_types": ["full_attention", "sliding_attention"]})"),
              HasSubstr("layer_types[1]: found \"sliding_attention\""));
  EXPECT_THAT(refusal(R"({"quantization_config": {"bits": 4}})"), HasSubstr("quantization_config"));
  EXPECT_THAT(refusal(R"({"partial_rotary_factor": 0.5})"), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(refusal(R"({"rope_interleaved": true})"), HasSubstr("rope_interleaved"));
  EXPECT_THAT(refusal(R"({"attention_dropout": 0.1})"), HasSubstr("attention_dropout"));
  EXPECT_THAT(refusal(R"({"hidden_size": null})"), HasSubstr("hidden_size: found nothing"));
  EXPECT_THAT(refusal(R"({"num_hidden_layers": 0})"), HasSubstr("num_hidden_layers: found 0"));
  EXPECT_THAT(refusal(R"({"num_key_value_heads": 7})"),
              HasSubstr("config.json: model.num_attention_heads: found 32"));
  const Json list = Json::array();
  EXPECT_THAT(error_of([&] { model_from_json(JsonView(list, "c.json")); }),
              HasSubstr("c.json: found [], expected a Hugging Face config.json object"));
}

TEST(ModelSpec, FamiliesTakeTheirOwnDefaults) {
  const Json sizes = {{"vocab_size", 64},
                      {"hidden_size", 1024},
                      {"intermediate_size", 64},
                      {"num_hidden_layers", 2},
                      {"num_attention_heads", 32}};
  const auto read = [&](const char* type) {
    Json json = sizes;
    json["model_type"] = type;
    return model_from_json(JsonView(json, "config.json"));
  };
  EXPECT_EQ(read("llama").num_key_value_heads, 32);
  EXPECT_EQ(read("mistral").num_key_value_heads, 8);
  EXPECT_EQ(read("qwen2").resolved_head_dim(), 32);
  EXPECT_EQ(read("qwen3").resolved_head_dim(), 128);
  for (const FamilyRow& family : kFamilies) {
    const ModelSpec model = read(family.name);
    EXPECT_EQ(model.family, family.value);
    const Json again = model_to_json(model);
    EXPECT_EQ(again["architectures"][0], family.architecture);
    EXPECT_EQ(model_from_json(JsonView(again, "again")).family, family.value);
  }
}

// The window of a family's config.json with some fields changed.
std::int64_t window_of(const char* preset, const char* family, const std::string& patch) {
  Json json = model_to_json(model_preset(preset));
  json.erase("layer_types");
  json.erase("sliding_window");
  json["model_type"] = family;
  const Json changes = Json::parse(patch);
  for (const auto& [name, value] : changes.items()) json[name] = value;
  return model_from_json(JsonView(json, "config.json")).sliding_window;
}

// As transformers reads them.
TEST(ModelSpec, SlidingWindowsCountWhereTransformersCountsThem) {
  const auto mistral = [](const char* patch) { return window_of("tiny", "mistral", patch); };
  EXPECT_EQ(mistral(R"({"sliding_window": 77})"), 77);
  EXPECT_EQ(mistral(R"({"sliding_window": null})"), 0);
  EXPECT_EQ(mistral("{}"), 4096);
  const auto qwen = [](const char* patch) { return window_of("qwen2.5-7b", "qwen2", patch); };
  EXPECT_EQ(qwen(R"({"sliding_window": 77, "use_sliding_window": null})"), 0);
  EXPECT_EQ(qwen(R"({"sliding_window": 77, "use_sliding_window": false,
                     "layer_types": ["full_attention"]})"),
            0);
  EXPECT_EQ(qwen(R"({"sliding_window": 77, "use_sliding_window": true})"), 0) << "28 full layers";
  EXPECT_EQ(qwen(R"({"sliding_window": 77, "use_sliding_window": true, "max_window_layers": 0})"),
            77);
  EXPECT_EQ(qwen(R"({"sliding_window": 77, "use_sliding_window": true,
                     "layer_types": ["sliding_attention", "sliding_attention"]})"),
            77);
  // In some layers only, it may hide nothing within the context that the model is for.
  EXPECT_EQ(qwen(R"({"sliding_window": 131072, "use_sliding_window": true, "max_window_layers": 5,
                     "max_position_embeddings": 131072})"),
            0);
  EXPECT_THAT(
      error_of([&] {
        qwen(R"({"sliding_window": 77, "use_sliding_window": true, "max_window_layers": 5})");
      }),
      HasSubstr(
          "max_window_layers: found 5, expected all layers with the sliding window, or none"));
  EXPECT_THAT(error_of([&] {
                qwen(R"({"sliding_window": 77, "use_sliding_window": true,
             "layer_types": ["full_attention", "sliding_attention"]})");
              }),
              HasSubstr("layer_types[1]: found \"sliding_attention\""));
}

TEST(ModelSpec, SlidingWindowsAreWrittenAndReadAgain) {
  ModelSpec model = model_preset("tiny");
  for (const FamilyRow& family : kFamilies) {
    if (!family.windows) continue;
    model.family = family.value;
    model.head_dim = 32;
    for (const std::int64_t window : {0, 1, 5000}) {
      model.sliding_window = window;
      const Json json = model_to_json(model);
      EXPECT_EQ(model_from_json(JsonView(json, "again")), model) << family.name;
    }
  }
  model.family = ModelFamily::kLlama;
  EXPECT_THAT(error_of([&] { model.check(); }),
              HasSubstr("model.sliding_window: found 5000, expected 0 with model_type llama"));
  model.settle_family();
  EXPECT_EQ(model.family, ModelFamily::kMistral) << "Llama's layer with a window";
  model.check();
}

TEST(ModelSpec, EveryScalingOfRopeIsWrittenAndReadAgain) {
  ModelSpec model = model_preset("tiny");
  model.head_dim = 32;
  model.max_position_embeddings = 4096;
  for (const RopeTypeRow& type : kRopeTypes) {
    model.rope = {};
    model.rope.type = type.value;
    if (type.value != RopeType::kDefault) model.rope.factor = 3.5;
    if (type.original) model.rope.original_max_position_embeddings = 512;
    if (type.value == RopeType::kLlama3) model.rope.low_freq_factor = 1.5;
    if (type.value == RopeType::kYarn) {
      model.rope.beta_fast = 30.0;
      model.rope.mscale = 0.7;
      model.rope.attention_factor = 1.25;
      model.rope.truncate = false;
    }
    Json json = model_to_json(model);
    EXPECT_EQ(json.contains("rope_scaling"), type.value != RopeType::kDefault);
    EXPECT_EQ(model_from_json(JsonView(json, "config.json")), model) << type.name;
    // Readers know one or the other.
    Json older = json;
    older.erase("rope_parameters");
    EXPECT_EQ(model_from_json(JsonView(older, "config.json")), model) << type.name;
    json.erase("rope_scaling");
    json.erase("rope_theta");
    EXPECT_EQ(model_from_json(JsonView(json, "config.json")), model) << type.name;
  }
}

TEST(ModelSpec, OldNamesAndMissingFieldsOfRopeAreRead) {
  Json json = model_to_json(model_preset("llama-3-8b"));
  json.erase("rope_parameters");
  json["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_EQ(model_from_json(JsonView(json, "c")).rope.type, RopeType::kLinear);
  json["rope_scaling"] = {{"rope_type", "yarn"}, {"factor", 2.0}, {"beta_fast", nullptr}};
  const RopeScaling yarn = model_from_json(JsonView(json, "c")).rope;
  EXPECT_EQ(yarn.original_max_position_embeddings, 8192);  // the model's context
  EXPECT_EQ(yarn.beta_fast, 32.0);
  json["rope_scaling"] = {{"rope_type", "yarn"}, {"original_max_position_embeddings", 2048}};
  EXPECT_EQ(model_from_json(JsonView(json, "c")).rope.factor, 4.0);
}

TEST(ModelSpec, ALongerContextFollowsFromTheFactor) {
  const ModelSpec before = model_preset("smollm2-135m");
  ModelSpec model = before;
  model.settle_context(before);
  EXPECT_EQ(model, before);
  model.rope.type = RopeType::kYarn;
  model.rope.factor = 4.0;
  model.settle_context(before);
  EXPECT_EQ(model.rope.original_max_position_embeddings, 8192);
  EXPECT_EQ(model.max_position_embeddings, 32768);
  const ModelSpec once = model;
  model.settle_context(before);
  EXPECT_EQ(model, once);
  model.rope.factor = 8.0;  // what was extended is extended further
  model.settle_context(once);
  EXPECT_EQ(model.rope.original_max_position_embeddings, 8192);
  EXPECT_EQ(model.max_position_embeddings, 65536);
  model = before;
  model.rope.type = RopeType::kLinear;
  model.rope.factor = 2.0;
  model.max_position_embeddings = 10000;  // what was said stays
  model.settle_context(before);
  EXPECT_EQ(model.max_position_embeddings, 10000);
}

TEST(ModelSpec, OtherFieldsAreKeptAndUnknownOnesNamed) {
  const Json config = {{"hidden_size", 8},  {"eos_token_id", {1, 2}}, {"torch_dtype", "bfloat16"},
                       {"rope_theta", 1e4}, {"mystery", 3},           {"pad_token_id", nullptr}};
  std::vector<std::string> unknown;
  const Json kept = other_config_fields(config, &unknown);
  EXPECT_EQ(kept, (Json{{"eos_token_id", {1, 2}},
                        {"torch_dtype", "bfloat16"},
                        {"mystery", 3},
                        {"pad_token_id", nullptr}}));
  EXPECT_EQ(unknown, std::vector<std::string>{"mystery"});
}

}  // namespace
}  // namespace infinipipe
