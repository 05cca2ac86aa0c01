#include "infinipipe/core/plan_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/validate.h"
#include "support/keeping.h"
#include "unit/core/test_plans.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using testing::make_plan;

Plan full_plan() {
  Plan plan = make_plan({.stages = 3, .replicas = 2});
  plan.step = 17;
  plan.planner.seconds = 0.041;
  plan.planner.schedule = "list";
  plan.planner.solver = {"optimal", 0.004, 0.02};
  plan.planner.chunk_spread = 0.07;
  plan.planner.spread_cause = "1 chunk of what was left over";
  plan.planner.candidates = {{"list", 3, 4096, 2, 10, 1.93, "fastest"},
                             {"1f1b", 4, 2048, 1, 12, 2.5, "longer warm-up"}};
  plan.bytes_per_stage = 2e8;
  plan.profile_hash = "0123456789abcdef";
  plan.predicted = Prediction{1.93, 1.8, 0.05, 0.25, {{1.7, 0.1, 0.13, 123456789.5}, {}, {}}};
  return plan;
}

std::string error_of(const Json& json) {
  try {
    plan_from_json(json, "p.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PlanJson, RoundTrips) {
  const Plan plan = full_plan();
  const Json json = plan_to_json(plan);
  const Plan again = plan_from_json(json, "p.json");
  EXPECT_EQ(plan_to_json(again), json);
  EXPECT_EQ(again.replicas, plan.replicas);
  EXPECT_EQ(again.stages, plan.stages);
  EXPECT_EQ(again.sequences, plan.sequences);
  EXPECT_EQ(again.parallelism, plan.parallelism);
  EXPECT_EQ(again.bytes_per_stage, plan.bytes_per_stage);
  ASSERT_TRUE(again.predicted.has_value());
  EXPECT_EQ(again.predicted->stages[0].peak_bytes, 123456789.5);
  EXPECT_EQ(again.planner.candidates[1].note, "longer warm-up");
  EXPECT_EQ(again.planner.chunk_spread, 0.07);
  EXPECT_EQ(again.planner.spread_cause, "1 chunk of what was left over");
  EXPECT_FALSE(validate(again).has_value());
}

TEST(PlanJson, WritesTheDocumentedNames) {
  const Json json = plan_to_json(full_plan());
  EXPECT_EQ(json["format"], "infinipipe.plan");
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["planner"]["solver"]["status"], "optimal");
  EXPECT_EQ(json["stages"][1]["layers"], Json({2, 4}));
  const Json& chunk = json["replicas"][0]["pipelines"][0]["chunks"][2];
  EXPECT_EQ(chunk, Json::parse(R"({"kind": "hybrid", "context": 200, "slices": [
      {"sequence": 0, "begin": 200, "end": 300}, {"sequence": 1, "begin": 0, "end": 10}],
      "recompute": [2, 0, 0]})"));
  EXPECT_EQ(json["replicas"][0]["instructions"][2][0], "F0.0");
  EXPECT_EQ(json["memory"]["bytes_per_stage"].dump(), "200000000");
  EXPECT_EQ(json["predicted"]["stages"][0]["peak_bytes"], 123456789.5);
}

TEST(PlanJson, FileHasAChunkALineAndReadsBack) {
  const std::string path = ::testing::TempDir() + "plan_json_test.json";
  const Plan plan = full_plan();
  write_plan(path, plan);
  const std::string text = read_file(path);
  std::size_t chunk_lines = 0;
  std::size_t list_lines = 0;
  for (std::size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1) {
    const std::string line = text.substr(begin, text.find('\n', begin) - begin);
    if (line.find("\"kind\"") != std::string::npos) {
      ++chunk_lines;
      EXPECT_EQ(line.find("\"kind\""), line.rfind("\"kind\"")) << line;
      EXPECT_THAT(line, HasSubstr("\"slices\": ["));
    }
    list_lines += line.find("\"F0.0\"") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(chunk_lines, 2U * 2U * 5U);
  EXPECT_EQ(list_lines, 2U * 3U);
  EXPECT_EQ(parse_json(text, path), plan_to_json(plan));
  EXPECT_EQ(read_plan(path).replicas, plan.replicas);
  std::filesystem::remove(path);
}

TEST(PlanJson, HashCoversDecisionsOnly) {
  const Plan plan = full_plan();
  const std::string hash = plan_hash(plan);
  EXPECT_EQ(hash.size(), 32U);
  Plan same = plan;
  same.planner.seconds = 9.0;
  same.planner.solver.seconds = 9.0;
  same.planner.candidates.clear();
  same.predicted.reset();
  EXPECT_EQ(plan_hash(same), hash);
  const auto differs = [&](const auto& change) {
    Plan other = plan;
    change(other);
    return plan_hash(other) != hash;
  };
  EXPECT_TRUE(differs([](Plan& p) { p.step = 18; }));
  EXPECT_TRUE(differs([](Plan& p) { p.sequences[0] = 299; }));
  EXPECT_TRUE(differs([](Plan& p) { p.stages[0].end = 1; }));
  EXPECT_TRUE(differs([](Plan& p) { p.parallelism.sequence_parallel = 2; }));
  EXPECT_TRUE(differs([](Plan& p) { p.bytes_per_stage = 1; }));
  EXPECT_TRUE(differs([](Plan& p) { p.profile_hash = "f"; }));
  EXPECT_TRUE(differs([](Plan& p) { p.planner.name = "other"; }));
  EXPECT_TRUE(differs(
      [](Plan& p) { p.replicas[1].pipelines[1].chunks[0].keeping[2] = testing::inputs(1); }));
  EXPECT_TRUE(differs([](Plan& p) { p.replicas[1].pipelines[0].warmup_slices = 7; }));
  EXPECT_TRUE(differs([](Plan& p) { p.replicas[0].instructions[2].back().op = Op::kWeightGrad; }));
}

TEST(PlanJson, WhatRecomputedLayersKeepIsADecision) {
  Plan plan = full_plan();
  Chunk& chunk = plan.replicas[0].pipelines[0].chunks[2];
  const std::string hash = plan_hash(plan);
  EXPECT_EQ(plan_hash(plan), hash) << "none, as plans always were";
  EXPECT_EQ(plan.replicas, full_plan().replicas) << "empty is as zeros";
  const Json before = plan_to_json(plan);
  EXPECT_FALSE(before["replicas"][0]["pipelines"][0]["chunks"][2].contains("attention_kept"));
  ASSERT_EQ(chunk.keeping[0], testing::inputs(2));
  chunk.keeping[0] = testing::again(2, 1);
  EXPECT_NE(plan_hash(plan), hash);
  EXPECT_NE(plan.replicas, full_plan().replicas);
  Json json = plan_to_json(plan);
  const Json& written = json["replicas"][0]["pipelines"][0]["chunks"][2]["attention_kept"];
  EXPECT_EQ(written, Json({1, 0, 0}));
  const Plan again = plan_from_json(json, "p.json");
  EXPECT_EQ(again.replicas[0].pipelines[0].chunks[2].kept_on(StageId(0)), testing::again(2, 1));
  EXPECT_EQ(again.replicas[0].pipelines[0].chunks[1].kept_on(StageId(0))[Keep::kAttention], 0);
  EXPECT_EQ(again.recomputed().by_level[index_of(Keep::kAttention)], 1);
  json["replicas"][0]["pipelines"][0]["chunks"][2]["attention_kept"][0] = -1;
  EXPECT_THAT(error_of(json), HasSubstr("attention_kept[0]: found -1"));
}

TEST(PlanJson, ALevelThatVersion1WouldMisreadNeedsVersion2) {
  Plan plan = full_plan();
  Chunk& chunk = plan.replicas[0].pipelines[0].chunks[2];
  EXPECT_EQ(plan_to_json(plan)["version"], 1);
  chunk.keeping[0] = Keeping::of(Keep::kMlpInput, 1);
  Json json = plan_to_json(plan);
  EXPECT_EQ(json["version"], 2);
  EXPECT_EQ(json["requires"], Json({"mlp_input_kept"}));
  const Json& written = json["replicas"][0]["pipelines"][0]["chunks"][2];
  EXPECT_EQ(written["recompute"][0], 1);
  EXPECT_EQ(written["mlp_input_kept"][0], 1);
  EXPECT_EQ(plan_from_json(json, "p").replicas, plan.replicas);
  json["requires"].push_back("shared_head");
  EXPECT_THAT(error_of(json), HasSubstr("requires[1]: found \"shared_head\""));
  json["version"] = 3;
  EXPECT_THAT(error_of(json), HasSubstr("version: found 3"));
}

TEST(PlanJson, ASlidingWindowIsADecisionThatNeedsVersion2) {
  Plan plan = full_plan();
  const std::string before = plan_hash(plan);
  plan.sliding_window = 30;
  EXPECT_NE(plan_hash(plan), before);
  const Json json = plan_to_json(plan);
  EXPECT_EQ(json["version"], 2);
  EXPECT_EQ(json["requires"], Json({"sliding_window"}));
  EXPECT_EQ(plan_from_json(json, "p").sliding_window, 30);
}

TEST(PlanJson, SubGroupsAreADecisionThatNeedsVersion2) {
  Plan plan = full_plan();
  const std::string before = plan_hash(plan);
  Chunk& chunk = plan.replicas[0].pipelines[0].chunks.back();
  chunk.degree = 2;
  chunk.groups = {0, 1, 0, 0};
  EXPECT_NE(plan_hash(plan), before);
  Json json = plan_to_json(plan);
  EXPECT_EQ(json["version"], 2);
  EXPECT_EQ(json["requires"], Json({"degree"}));
  const Json& chunks = json["replicas"][0]["pipelines"][0]["chunks"];
  EXPECT_EQ(chunks.back()["degree"], 2);
  EXPECT_EQ(chunks.back()["groups"], Json({0, 1, 0, 0}));
  EXPECT_FALSE(chunks.front().contains("degree"));
  EXPECT_FALSE(chunks.front().contains("groups"));
  EXPECT_EQ(plan_from_json(json, "p").replicas, plan.replicas);
  plan.sliding_window = 30;
  EXPECT_EQ(plan_to_json(plan)["requires"], Json({"sliding_window", "degree"}));

  json["replicas"][0]["pipelines"][0]["chunks"].back()["groups"][1] = -1;
  EXPECT_THAT(error_of(json), HasSubstr("groups[1]: found -1"));
  json["replicas"][0]["pipelines"][0]["chunks"].back()["degree"] = 5000;
  EXPECT_THAT(error_of(json), HasSubstr("degree: found 5000"));
}

TEST(PlanJson, RefusesAChangedPlanUnlessAskedNotTo) {
  Json json = plan_to_json(full_plan());
  json["sequences"][0] = 301;
  EXPECT_THAT(error_of(json), HasSubstr("p.json: hash: found "));
  EXPECT_THAT(error_of(json), HasSubstr("the plan was changed after it was made"));
  const Plan plan = plan_from_json(json, "p.json", HashCheck::kIgnore);
  EXPECT_EQ(plan.sequences[0], 301);
  json.erase("hash");
  EXPECT_EQ(error_of(json), "accepted");
}

TEST(PlanJson, DoesWithoutWhatIsOptional) {
  Json json = plan_to_json(full_plan());
  for (const char* name : {"predicted", "hash", "memory", "profile_hash", "planner", "step"}) {
    json.erase(name);
  }
  json["later_field"] = {{"a", 1}};
  json["parallelism"].erase("data_parallel");
  Json& pipeline = json["replicas"][0]["pipelines"][0];
  pipeline.erase("warmup_slices");
  pipeline.erase("backward");
  pipeline["chunks"][0].erase("context");
  const Plan plan = plan_from_json(json, "p.json");
  EXPECT_FALSE(plan.predicted.has_value());
  EXPECT_EQ(plan.bytes_per_stage, 0.0);
  EXPECT_EQ(plan.step, 0);
  EXPECT_EQ(plan.parallelism.data_parallel, 1);
  EXPECT_EQ(plan.replicas[0].pipelines[0].warmup_slices, 1);
  EXPECT_TRUE(plan.replicas[0].pipelines[0].backward.empty());
}

TEST(PlanJson, NamesTheFieldThatIsWrong) {
  struct Case {
    const char* pointer;
    Json value;  // discarded: the field is removed
    const char* message;
  };
  const Json absent = Json(Json::value_t::discarded);
  const Case cases[] = {
      {"/format", "infinipipe.profile", "format: found \"infinipipe.profile\""},
      {"/version", 2, "requires: found nothing"},
      {"/version", 3, "version: found 3, expected 1 to 2; use a newer infinipipe"},
      {"/version", "1", "version: found \"1\""},
      {"/sequences", absent, "sequences: found nothing"},
      {"/sequences", 3, "sequences: found 3, expected an array"},
      {"/sequences/1", 0, "sequences[1]: found 0, expected a whole number from 1"},
      {"/sequences/1", 1e300, "sequences[1]"},
      {"/sequences/1", 1.5, "sequences[1]: found 1.5"},
      {"/step", -1, "step: found -1"},
      {"/parallelism", absent, "parallelism: found nothing"},
      {"/parallelism/stages", 0, "parallelism.stages: found 0"},
      {"/parallelism/sequence_parallel", 0, "parallelism.sequence_parallel: found 0"},
      {"/parallelism/data_parallel", 5000000000, "parallelism.data_parallel: found 5000000000"},
      {"/stages/1/layers", Json({1}), "stages[1].layers: found [1]"},
      {"/stages/1/layers/0", -2, "stages[1].layers[0]: found -2"},
      {"/replicas", absent, "replicas: found nothing"},
      {"/replicas/0", 1, "replicas[0]: found 1, expected an object"},
      {"/replicas/0/pipelines/0/chunks/0/kind", "whole",
       "replicas[0].pipelines[0].chunks[0].kind: found \"whole\", expected \"split\""},
      {"/replicas/0/pipelines/0/chunks/0/kind", 1, "kind: found 1, expected a string"},
      {"/replicas/0/pipelines/0/chunks/1/context", 99,
       "chunks[1].context: found 99, expected 100 (where its first slice begins)"},
      {"/replicas/0/pipelines/0/chunks/3/context", 1, "(a batched chunk has no context)"},
      {"/replicas/0/pipelines/0/chunks/0/slices/0/sequence", -1, "slices[0].sequence: found -1"},
      {"/replicas/0/pipelines/0/chunks/0/slices/0/begin", "0", "slices[0].begin: found \"0\""},
      {"/replicas/0/pipelines/0/chunks/0/slices/0/end", absent, "slices[0].end: found nothing"},
      {"/replicas/0/pipelines/0/chunks/0/recompute/0", -1, "recompute[0]: found -1"},
      {"/replicas/0/pipelines/0/backward/0", -1, "backward[0]: found -1"},
      {"/replicas/0/pipelines/0/warmup_slices", 0.5, "warmup_slices: found 0.5"},
      {"/replicas/0/instructions/0/0", "X0.0", "instructions[0][0]: found \"X0.0\""},
      {"/replicas/0/instructions/0/0", "F", "found \"F\", expected F, B, I or W"},
      {"/replicas/0/instructions/0/0", "", "found \"\""},
      {"/replicas/0/instructions/0/0", "F0", "found \"F0\""},
      {"/replicas/0/instructions/0/0", "F0.", "found \"F0.\""},
      {"/replicas/0/instructions/0/0", "F-1.0", "found \"F-1.0\""},
      {"/replicas/0/instructions/0/0", "F0.-1", "found \"F0.-1\""},
      {"/replicas/0/instructions/0/0", "F0.0x", "found \"F0.0x\""},
      {"/replicas/0/instructions/0/0", "F0.99999999999", "found \"F0.99999999999\""},
      {"/replicas/0/instructions/0/0", 5, "expected a string"},
      {"/predicted/seconds", -1, "predicted.seconds: found -1"},
      {"/predicted/stages", 1, "predicted.stages: found 1"},
      {"/memory/bytes_per_stage", -5, "memory.bytes_per_stage: found -5"},
      {"/planner/solver/seconds", "x", "planner.solver.seconds: found \"x\""},
      {"/planner/candidates", 1, "planner.candidates: found 1"},
      {"/hash", 7, "hash: found 7"},
      {"/hash", "00", "hash: found \"00\""},
  };
  for (const Case& c : cases) {
    Json json = plan_to_json(full_plan());
    const Json::json_pointer pointer(c.pointer);
    if (c.value.is_discarded()) {
      json[pointer.parent_pointer()].erase(pointer.back());
    } else {
      json[pointer] = c.value;
    }
    EXPECT_THAT(error_of(json), HasSubstr(c.message)) << c.pointer;
    EXPECT_THAT(error_of(json), ::testing::StartsWith("p.json: ")) << c.pointer;
  }
}

TEST(PlanJson, ABrokenPlanPassesTheReaderAndIsNamedByValidate) {
  Json json = plan_to_json(full_plan());
  json.erase("hash");
  json["replicas"][0]["pipelines"][0]["chunks"][0]["slices"] = Json::array();
  const Plan plan = plan_from_json(json, "p.json");
  ASSERT_TRUE(validate(plan).has_value());
  EXPECT_EQ(validate(plan)->fault, PlanFault::kShape);
}

}  // namespace
}  // namespace infinipipe
