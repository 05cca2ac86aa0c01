#include "infinipipe/cost/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "infinipipe/base/error.h"
#include "infinipipe/cost/cost_model.h"
#include "support/profiles.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using testing::profile_path;

const char* const kProfiles[] = {"gpt-6.7b-a100-40gb.json",
                                 "llama-7b-a800.json",
                                 "llama-13b-a800.json",
                                 "llama-30b-a800.json",
                                 "llama-7b-a800-measured-exchange.json",
                                 "llama-13b-a800-measured-exchange.json",
                                 "llama-30b-a800-measured-exchange.json",
                                 "llama3-8b-a800-measured-exchange.json"};

Json good() { return read_json_file(profile_path("llama-7b-a800.json")); }

std::string refusal(const Json& json) {
  try {
    profile_from_json(json, "p.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Profile, ReadsEveryFieldOfTheDocument) {
  const Profile p = read_profile(profile_path("llama-7b-a800.json"));
  EXPECT_EQ(p.source, "given");
  EXPECT_EQ(p.dtype, "bfloat16");
  EXPECT_DOUBLE_EQ(p.forward.seconds_per_token2, 1.6804102564102565e-09);
  EXPECT_DOUBLE_EQ(p.forward.seconds_per_token, 6.695621770057899e-05);
  EXPECT_DOUBLE_EQ(p.forward.seconds_per_chunk, 0.01);
  EXPECT_DOUBLE_EQ(p.backward.seconds_per_token2, 5.001221001221001e-09);
  EXPECT_DOUBLE_EQ(p.head.backward_seconds_per_token, 1.0841356492969396e-05);
  EXPECT_FALSE(p.head_in_forward);
  EXPECT_DOUBLE_EQ(p.memory.activation_bytes_per_token, 4653056);
  EXPECT_DOUBLE_EQ(p.memory.kv_grad_bytes_per_token, 16384);
  EXPECT_DOUBLE_EQ(p.memory.state_bytes_per_layer, 3238002688.0);
  EXPECT_EQ(p.memory.state_sharding, StateSharding::kSequenceParallel);
  EXPECT_EQ(p.links.all_to_all.size(), 5u);
  EXPECT_DOUBLE_EQ(p.links.all_to_all.at(8), 228571428571.42856);
  EXPECT_EQ(p.links.all_gather.size(), 10u);
  EXPECT_DOUBLE_EQ(p.device_memory_bytes, 73600000000);
  EXPECT_LT(p.backward_weight_seconds_per_token, 0.0) << "absent";
  EXPECT_EQ(read_profile(profile_path("gpt-6.7b-a100-40gb.json")).memory.state_sharding,
            StateSharding::kAll);
}

TEST(Profile, MaySayItsModel) {
  for (const char* name : kProfiles) {
    const Profile profile = read_profile(profile_path(name));
    EXPECT_GT(profile.model.num_hidden_layers, 0) << name;
    EXPECT_EQ(profile.heads, profile.model.heads());
    EXPECT_EQ(profile_from_json(profile_to_json(profile), name).model, profile.model);
  }
  const Profile llama3 = read_profile(profile_path("llama3-8b-a800-measured-exchange.json"));
  EXPECT_EQ(llama3.model, (ProfileModel{32, 4096, 32, 8, 128256}));
  EXPECT_EQ(llama3.heads, (HeadCounts{32, 8}));
  Json json = good();
  json["model"] = {{"num_attention_heads", 12}, {"by_later_versions", "kept"}};
  const Profile some = profile_from_json(json, "p.json");
  EXPECT_EQ(some.model, (ProfileModel{.num_attention_heads = 12}));
  EXPECT_EQ(some.heads, (HeadCounts{12, 12}));
  EXPECT_EQ(profile_to_json(some), json);
  json.erase("model");
  EXPECT_EQ(profile_from_json(json, "p.json").model, ProfileModel{});
  EXPECT_FALSE(profile_from_json(json, "p.json").heads.known());
  EXPECT_FALSE(profile_to_json(profile_from_json(json, "p.json")).contains("model"));
  for (const auto& [name, unused] : kProfileModelFields) {
    for (const Json& bad : {Json(0), Json(-3), Json(1.5), Json("32"), Json(1e12)}) {
      Json wrong = good();
      wrong["model"][name] = bad;
      EXPECT_THAT(refusal(wrong), HasSubstr(std::string("p.json: model.") + name + ": found "));
    }
  }
  json["model"] = {{"num_attention_heads", 12}, {"num_key_value_heads", 5}};
  EXPECT_THAT(refusal(json), HasSubstr("model.num_key_value_heads: found 5, expected a divisor"));
  json["model"] = 7;
  EXPECT_THAT(refusal(json), HasSubstr("p.json: model: found 7, expected an object"));
}

TEST(Profile, TheUsersModelAndTheProfilesAgree) {
  Profile profile = read_profile(profile_path("llama-7b-a800.json"));
  profile.model.sliding_window = 4096;
  EXPECT_EQ(agreed_model({}, profile, "p.json"), profile.model);
  EXPECT_EQ(agreed_model({.hidden_size = 4096}, profile, "p.json"), profile.model);
  EXPECT_EQ(agreed_model({.num_hidden_layers = 60}, Profile{}, "p.json"),
            (ProfileModel{.num_hidden_layers = 60}));
  for (const auto& [name, size] : kProfileModelFields) {
    ProfileModel other;
    other.*size = 7;
    try {
      agreed_model(other, profile, "p.json");
      ADD_FAILURE() << name;
    } catch (const InputError& error) {
      EXPECT_EQ(std::string(error.what()),
                std::string("model.") + name + ": found 7, expected " +
                    std::to_string(profile.model.*size) +
                    ", which the figures of p.json are for; leave model." + name +
                    " out, or use a profile of this model");
    }
  }
  const ModelSpec model = model_preset("8b");
  EXPECT_EQ(profile_model(model), (ProfileModel{32, 4096, 32, 8, 128256}));
  EXPECT_EQ(estimated_profile(model, Dtype::kFloat32).model, profile_model(model));
  EXPECT_EQ(estimated_profile(model, Dtype::kFloat32).heads, (HeadCounts{32, 8}));
}

TEST(Profile, RoundTripKeepsValuesAndUnknownFields) {
  for (const char* name : kProfiles) {
    Json json = read_json_file(profile_path(name));
    json["fit"] = {{"time_error_median", 0.01}};
    json["stage_speed"] = {1.0, 0.5};
    json["seconds_per_chunk_divided"] = true;
    json["backward_weight"] = {{"seconds_per_token", 1e-6}};
    const Profile first = profile_from_json(json, name);
    EXPECT_EQ(profile_to_json(first), json);
    const Profile second = profile_from_json(profile_to_json(first), name);
    EXPECT_EQ(profile_hash(first), profile_hash(second));
  }
}

Json layerwise() {
  return {{"forward_bytes_per_token", 1.5},
          {"backward_bytes_per_token", 2.5},
          {"backward_bytes", 3.0},
          {"pending_bytes_per_token", 4.0},
          {"head_bytes_per_token", 5.0},
          {"head_block_tokens", 256.0},
          {"head_block_bytes_per_token", 6.0}};
}

TEST(Profile, LayerwiseMemoryIsReadAndWritten) {
  Json json = good();
  EXPECT_FALSE(profile_from_json(json, "p.json").memory.layerwise);
  json["memory"]["layerwise"] = layerwise();
  Profile profile = profile_from_json(json, "p.json");
  ASSERT_TRUE(profile.memory.layerwise);
  const LayerwiseMemory& memory = *profile.memory.layerwise;
  EXPECT_EQ(memory.forward_bytes_per_token, 1.5);
  EXPECT_EQ(memory.backward_bytes_per_token, 2.5);
  EXPECT_EQ(memory.backward_bytes, 3.0);
  EXPECT_EQ(memory.pending_bytes_per_token, 4.0);
  EXPECT_EQ(memory.head_bytes_per_token, 5.0);
  EXPECT_EQ(memory.head_block_tokens, 256.0);
  EXPECT_EQ(memory.head_block_bytes_per_token, 6.0);
  EXPECT_EQ(profile_to_json(profile), json);
  EXPECT_NE(profile_hash(profile), profile_hash(profile_from_json(good(), "p.json")));
  profile.memory.layerwise.reset();
  EXPECT_EQ(profile_to_json(profile), good()) << "taken away again";
}

TEST(CorruptedProfile, EveryLayerwiseNumberIsCheckedByName) {
  const Json numbers = layerwise();
  for (const auto& [key, value] : numbers.items()) {
    const std::string name = "p.json: memory.layerwise." + key + ": found ";
    Json broken = good();
    broken["memory"]["layerwise"] = layerwise();
    broken["memory"]["layerwise"].erase(key);
    EXPECT_THAT(refusal(broken), HasSubstr(name + "nothing"));
    for (const Json& bad :
         {Json(-1.0), Json(std::numeric_limits<double>::infinity()), Json("1"), Json()}) {
      broken["memory"]["layerwise"][key] = bad;
      EXPECT_THAT(refusal(broken), HasSubstr(name)) << bad;
    }
  }
}

TEST(Profile, SecondsOfContextAreReadAndWritten) {
  Json json = good();
  EXPECT_EQ(profile_from_json(json, "p.json").forward.seconds_per_context_token, 0.0);
  json["forward"]["seconds_per_context_token"] = 1e-9;
  json["backward"]["seconds_per_context_token"] = 2e-9;
  const Profile profile = profile_from_json(json, "p.json");
  EXPECT_EQ(profile.forward.seconds_per_context_token, 1e-9);
  EXPECT_EQ(profile.backward.seconds_per_context_token, 2e-9);
  EXPECT_EQ(profile_to_json(profile), json);
  json["backward"]["seconds_per_context_token"] = "much";
  EXPECT_THAT(refusal(json), HasSubstr("p.json: backward.seconds_per_context_token: found"));
}

Json around_attention() {
  return {{"seconds_per_token2", 0.0},
          {"seconds_per_token", 3e-6},
          {"seconds_per_chunk", 2e-5},
          {"seconds_per_slice", 1e-6},
          {"attention_bytes_per_token", 80.0}};
}

TEST(Profile, RecomputationAroundAttentionIsReadAndWritten) {
  Json json = good();
  EXPECT_FALSE(profile_from_json(json, "p.json").knows(Keep::kAttention));
  json["recompute_around_attention"] = around_attention();
  json["recompute_around_attention"]["seconds_per_context_token"] = 1e-9;
  json["recompute_around_attention"]["by_a_later_version"] = 7;
  Profile profile = profile_from_json(json, "p.json");
  EXPECT_EQ(profile_to_json(profile), json);
  EXPECT_EQ(profile.remake[index_of(Keep::kAttention)]->cost.seconds_per_token, 3e-6);
  EXPECT_EQ(profile.remake[index_of(Keep::kAttention)]->cost.seconds_per_context_token, 1e-9);
  EXPECT_EQ(profile.remake[index_of(Keep::kAttention)]->kept_bytes_per_token, 80.0);
  profile.remake[index_of(Keep::kAttention)].reset();
  EXPECT_EQ(profile_to_json(profile), good()) << "taken away again";
}

TEST(CorruptedProfile, EveryNumberAroundAttentionIsCheckedByName) {
  const Json numbers = around_attention();
  for (const auto& [key, value] : numbers.items()) {
    Json broken = good();
    broken["recompute_around_attention"] = around_attention();
    broken["recompute_around_attention"].erase(key);
    const std::string name = "p.json: recompute_around_attention." + key + ": found ";
    EXPECT_THAT(refusal(broken), HasSubstr(name + "nothing"));
    for (const Json& bad : {Json(-1.0), Json("1"), Json()}) {
      broken["recompute_around_attention"][key] = bad;
      EXPECT_THAT(refusal(broken), HasSubstr(name)) << bad;
    }
  }
}

TEST(Profile, SharesOfStatesAreReadAndWritten) {
  Json json = good();
  EXPECT_EQ(profile_from_json(json, "p.json").memory.state_gradient_share, 0.0);
  json["memory"]["state"]["gradient_share"] = 0.25;
  json["memory"]["state"]["optimizer_share"] = 0.5;
  const Profile profile = profile_from_json(json, "p.json");
  EXPECT_EQ(profile.memory.state_gradient_share, 0.25);
  EXPECT_EQ(profile.memory.state_optimizer_share, 0.5);
  EXPECT_EQ(profile_to_json(profile), json);
  json["memory"]["state"]["optimizer_share"] = 0.875;
  EXPECT_THAT(refusal(json),
              HasSubstr("p.json: memory.state.optimizer_share: found 0.875, expected a share"));
  json["memory"]["state"]["gradient_share"] = -0.25;
  EXPECT_THAT(refusal(json), HasSubstr("memory.state.gradient_share: found -0.25"));
}

TEST(Profile, StepSecondsAreReadAndWritten) {
  Json json = good();
  EXPECT_EQ(profile_from_json(json, "p.json").step_seconds, 0.0);
  json["step"] = {{"seconds", 0.125}};
  const Profile profile = profile_from_json(json, "p.json");
  EXPECT_EQ(profile.step_seconds, 0.125);
  EXPECT_EQ(profile_to_json(profile), json);
  EXPECT_NE(profile_hash(profile), profile_hash(profile_from_json(good(), "p.json")));
}

TEST(Profile, HashTellsProfilesApart) {
  Profile profile = profile_from_json(good(), "p.json");
  const std::string before = profile_hash(profile);
  EXPECT_EQ(before.size(), 32u);
  profile.links.p2p_seconds *= 2;
  EXPECT_NE(profile_hash(profile), before);
}

TEST(Profile, WholeAndFractionalNumbersHashAlike) {
  Json json = good();
  json["device"]["memory_bytes"] = 73600000000.0;
  EXPECT_EQ(profile_hash(profile_from_json(json, "a")),
            profile_hash(profile_from_json(good(), "b")));
}

// Every number of the document: missing, negative, not finite, of another type.
TEST(CorruptedProfile, EveryNumberIsCheckedByName) {
  int cases = 0;
  const Json document = good();
  const Json flattened = document.flatten();
  for (const auto& [flat, value] : flattened.items()) {
    if (!value.is_number() || flat == "/version") continue;
    const Json::json_pointer pointer(flat);
    std::string name = flat.substr(1);
    for (char& c : name) c = c == '/' ? '.' : c;
    const bool degree =
        std::isdigit(static_cast<unsigned char>(name.back())) && name.find("links") == 0;
    Json broken = document;
    for (const Json& bad : {Json(-1.0), Json(std::numeric_limits<double>::infinity()),
                            Json(std::numeric_limits<double>::quiet_NaN()), Json("1"), Json(),
                            Json::array(), Json(true)}) {
      broken = document;
      broken[pointer] = bad;
      EXPECT_THAT(refusal(broken), HasSubstr("p.json: " + name + ": found ")) << bad;
      ++cases;
    }
    // A degree that is not there is an error only where it is needed; a model's size may be unsaid.
    if (degree || name.find("model") == 0) continue;
    broken = document;
    broken[pointer.parent_pointer()].erase(pointer.back());
    EXPECT_THAT(refusal(broken), HasSubstr("p.json: " + name + ": found nothing"));
    ++cases;
  }
  EXPECT_GT(cases, 200);
}

struct Corruption {
  const char* name;
  void (*apply)(Json&);
  const char* message;
};

class CorruptedDocument : public ::testing::TestWithParam<Corruption> {};

TEST_P(CorruptedDocument, IsRefusedByName) {
  Json json = good();
  GetParam().apply(json);
  EXPECT_THAT(refusal(json), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Profile, CorruptedDocument,
    ::testing::Values(
        Corruption{"Array", [](Json& j) { j = Json::array(); }, "expected a profile object"},
        Corruption{"EndlessSeconds", [](Json& j) { j["forward"]["seconds_per_token2"] = 1e308; },
                   "p.json: forward.seconds_per_token2: found 1e+308, expected a finite"},
        Corruption{"EndlessBytes",
                   [](Json& j) { j["memory"]["activation_bytes_per_token"] = 1e300; },
                   "p.json: memory.activation_bytes_per_token: found 1e+300"},
        Corruption{"EndlessDevice", [](Json& j) { j["device"]["memory_bytes"] = 1e19; },
                   "p.json: device.memory_bytes: found 1e+19"},
        Corruption{"EndlessStep", [](Json& j) { j["step"]["seconds"] = 1e308; },
                   "p.json: step.seconds: found 1e+308"},
        Corruption{"EndlessSpeed", [](Json& j) { j["stage_speed"] = {1e308}; },
                   "p.json: stage_speed[0]: found 1e+308"},
        Corruption{"StoppedSpeed", [](Json& j) { j["stage_speed"] = {1e-300}; },
                   "p.json: stage_speed[0]: found 1e-300"},
        Corruption{"CreepingLink", [](Json& j) { j["links"]["p2p"]["bytes_per_second"] = 1e-300; },
                   "p.json: links.p2p.bytes_per_second: found 1e-300"},
        Corruption{"EndlessGather", [](Json& j) { j["links"]["all_gather"]["2"] = 1e308; },
                   "p.json: links.all_gather.2: found 1e+308"},
        Corruption{"NoFormat", [](Json& j) { j.erase("format"); }, "p.json: format: found nothing"},
        Corruption{"OtherFormat", [](Json& j) { j["format"] = "infinipipe.plan"; },
                   "p.json: format"},
        Corruption{"NoVersion", [](Json& j) { j.erase("version"); }, "p.json: version"},
        Corruption{"NewVersion", [](Json& j) { j["version"] = 2; }, "p.json: version: found 2"},
        Corruption{"OldVersion", [](Json& j) { j["version"] = 0; }, "p.json: version: found 0"},
        Corruption{"NoSource", [](Json& j) { j.erase("source"); }, "p.json: source"},
        Corruption{"NumberSource", [](Json& j) { j["source"] = 3; }, "p.json: source: found 3"},
        Corruption{"NoMachine", [](Json& j) { j.erase("machine"); }, "p.json: machine"},
        Corruption{"NoDtype", [](Json& j) { j.erase("dtype"); }, "p.json: dtype"},
        Corruption{"NoForward", [](Json& j) { j.erase("forward"); },
                   "p.json: forward: found nothing"},
        Corruption{"NoBackward", [](Json& j) { j.erase("backward"); }, "p.json: backward: found"},
        Corruption{"ListForward", [](Json& j) { j["forward"] = Json::array(); },
                   "p.json: forward: found [], expected an object"},
        Corruption{"NoEmbedding", [](Json& j) { j.erase("embedding"); }, "p.json: embedding"},
        Corruption{"NoHead", [](Json& j) { j.erase("head"); }, "p.json: head"},
        Corruption{"NoInForward", [](Json& j) { j["head"].erase("in_forward"); },
                   "head.in_forward"},
        Corruption{"NumberInForward", [](Json& j) { j["head"]["in_forward"] = 1; },
                   "head.in_forward: found 1, expected true or false"},
        Corruption{"NoMemory", [](Json& j) { j.erase("memory"); }, "p.json: memory"},
        Corruption{"NoState", [](Json& j) { j["memory"].erase("state"); }, "memory.state"},
        Corruption{"NoSharding", [](Json& j) { j["memory"]["state"].erase("sharded_over"); },
                   "memory.state.sharded_over: found nothing"},
        Corruption{"OtherSharding", [](Json& j) { j["memory"]["state"]["sharded_over"] = "some"; },
                   "memory.state.sharded_over: found \"some\""},
        Corruption{"NoLinks", [](Json& j) { j.erase("links"); }, "p.json: links"},
        Corruption{"NoP2p", [](Json& j) { j["links"].erase("p2p"); }, "links.p2p"},
        Corruption{"StillLink", [](Json& j) { j["links"]["p2p"]["bytes_per_second"] = 0; },
                   "links.p2p.bytes_per_second: found 0, expected a finite number >= 1"},
        Corruption{"NoAllToAll", [](Json& j) { j["links"].erase("all_to_all"); },
                   "links.all_to_all: found nothing"},
        Corruption{"ListAllToAll", [](Json& j) { j["links"]["all_to_all"] = {1.0, 2.0}; },
                   "links.all_to_all: found [1.0,2.0], expected an object"},
        Corruption{"StillAllToAll", [](Json& j) { j["links"]["all_to_all"]["8"] = 0.0; },
                   "links.all_to_all.8: found 0.0"},
        Corruption{"WordDegree", [](Json& j) { j["links"]["all_to_all"]["eight"] = 1.0; },
                   "links.all_to_all: found degree \"eight\""},
        Corruption{"ZeroDegree", [](Json& j) { j["links"]["all_gather"]["0"] = 1.0; },
                   "links.all_gather: found degree \"0\""},
        Corruption{"PaddedDegree", [](Json& j) { j["links"]["reduce_scatter"]["08"] = 1.0; },
                   "links.reduce_scatter: found degree \"08\""},
        Corruption{"HugeDegree", [](Json& j) { j["links"]["all_gather"]["99999999999"] = 1.0; },
                   "links.all_gather: found degree \"99999999999\""},
        Corruption{"EmptyDegree", [](Json& j) { j["links"]["all_gather"][""] = 1.0; },
                   "links.all_gather: found degree \"\""},
        Corruption{"NoAllGather", [](Json& j) { j["links"].erase("all_gather"); },
                   "links.all_gather"},
        Corruption{"NoReduceScatter", [](Json& j) { j["links"].erase("reduce_scatter"); },
                   "links.reduce_scatter"},
        Corruption{"NoDevice", [](Json& j) { j.erase("device"); }, "p.json: device"},
        Corruption{"ZeroSpeed", [](Json& j) { j["stage_speed"] = {1.0, 0.0}; },
                   "stage_speed[1]: found 0.0"},
        Corruption{"NegativeSpeed", [](Json& j) { j["stage_speed"] = {-1.0}; }, "stage_speed[0]"},
        Corruption{"WordSpeed", [](Json& j) { j["stage_speed"] = "fast"; },
                   "stage_speed: found \"fast\", expected an array"},
        Corruption{"NegativeWeight",
                   [](Json& j) { j["backward_weight"]["seconds_per_token"] = -1.0; },
                   "backward_weight.seconds_per_token: found -1.0"},
        Corruption{"EmptyWeight", [](Json& j) { j["backward_weight"] = Json::object(); },
                   "backward_weight.seconds_per_token: found nothing"},
        Corruption{"WeightAboveAll",
                   [](Json& j) { j["backward_weight"]["seconds_per_token"] = 1.0; },
                   "expected at most backward.seconds_per_token"},
        Corruption{"NumberWeight", [](Json& j) { j["backward_weight"] = 1.0; },
                   "backward_weight: found 1.0, expected an object"},
        Corruption{"WordLayerwise", [](Json& j) { j["memory"]["layerwise"] = "yes"; },
                   "memory.layerwise: found \"yes\", expected an object"},
        Corruption{"NegativeStep", [](Json& j) { j["step"]["seconds"] = -1.0; },
                   "p.json: step.seconds: found -1.0"},
        Corruption{"EmptyStep", [](Json& j) { j["step"] = Json::object(); },
                   "p.json: step.seconds: found nothing"},
        Corruption{"NumberStep", [](Json& j) { j["step"] = 1.0; },
                   "p.json: step: found 1.0, expected an object"},
        Corruption{"WordDivided", [](Json& j) { j["seconds_per_chunk_divided"] = "yes"; },
                   "seconds_per_chunk_divided: found \"yes\""}),
    [](const auto& test) { return test.param.name; });

TEST(CorruptedProfile, MissingFileIsNamed) {
  try {
    read_profile("/nowhere/profile.json");
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/nowhere/profile.json"));
  }
}

TEST(EstimatedProfile, CountsWhatTheLayersKeep) {
  ModelSpec model;  // hidden 256, 4 heads of 64, intermediate 704, 4 layers, vocabulary 257
  const Profile p = estimated_profile(model, Dtype::kFloat32, 1e10);
  EXPECT_DOUBLE_EQ(p.memory.activation_bytes_per_token,
                   4 * ((6 * 256 + 2 * 704) * 4.0 + (4 + 2) * 4.0));
  EXPECT_DOUBLE_EQ(p.memory.input_bytes_per_token, 1024.0);
  EXPECT_DOUBLE_EQ(p.memory.kv_bytes_per_token, 2048.0);
  EXPECT_DOUBLE_EQ(p.memory.kv_grad_bytes_per_token, 2048.0);
  EXPECT_DOUBLE_EQ(p.memory.head_bytes_per_token, 1024.0);
  EXPECT_DOUBLE_EQ(p.links.p2p_bytes_per_token, 1024.0);
  EXPECT_TRUE(p.head_in_forward);
  // Two FLOPs for every weight of a layer's matrices, four layers.
  const double matrices = 4 * 256.0 * 256.0 + 3 * 256.0 * 704.0;
  EXPECT_DOUBLE_EQ(p.forward.seconds_per_token, 4 * 2 * matrices / 1e10);
  EXPECT_DOUBLE_EQ(p.head.forward_seconds_per_token, 2 * 256.0 * 257.0 / 1e10);
}

TEST(EstimatedProfile, Bfloat16KeepsFloat32Accumulators) {
  ModelSpec model;
  model.num_key_value_heads = 2;
  const Profile p = estimated_profile(model, Dtype::kBfloat16);
  EXPECT_DOUBLE_EQ(p.memory.kv_bytes_per_token, 2 * 128 * 2.0);
  EXPECT_DOUBLE_EQ(p.memory.kv_grad_bytes_per_token, 2 * 128 * 4.0);
  EXPECT_DOUBLE_EQ(estimated_profile(model, Dtype::kFloat64).memory.kv_grad_bytes_per_token,
                   2 * 128 * 8.0);
}

TEST(EstimatedProfile, IsAProfileLikeAnyOther) {
  for (const std::string& name : model_preset_names()) {
    const Profile made = estimated_profile(model_preset(name), Dtype::kFloat32);
    const Profile read = profile_from_json(profile_to_json(made), name);
    EXPECT_EQ(profile_hash(read), profile_hash(made)) << name;
    EXPECT_NO_THROW(CostModel(read, {1, 1, 1}, {{0, 2}}));
  }
}

}  // namespace
}  // namespace infinipipe
