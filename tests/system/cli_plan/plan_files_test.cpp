// `validate` and `simulate` on good plans and on plans that were edited by hand.
#include <gmock/gmock.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "infinipipe/base/json.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/report/chrome_trace.h"
#include "support/profiles.h"
#include "system/cli_plan/program.h"
#include "unit/core/test_plans.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

class PlanFiles : public testing::ProgramTest {
 protected:
  // 2 stages of 2 layers, 2 pipelines of 5 chunks; see test_plans.h.
  void SetUp() override {
    ProgramTest::SetUp();
    write_plan(path("plan.json"), testing::make_plan());
    write("profile.json", profile_to_json(estimated_profile(ModelSpec{}, Dtype::kFloat32)).dump());
  }
  void expect_refusal(const std::function<void(Json&)>& edit, const std::string& message,
                      int code = 1) {
    Json json = read_json_file(path("plan.json"));
    edit(json);
    write("edited.json", json.dump());
    expect_error({"validate", "edited.json"}, code, message);
  }
};

TEST_F(PlanFiles, AGoodPlanIsValid) {
  const auto outcome = run({"validate", "plan.json"});
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(outcome.out, "valid\n");
  EXPECT_EQ(run({"validate", "plan.json", "--profile", "profile.json"}).out, "valid\n");
}

TEST_F(PlanFiles, WhatIsNoPlanIsBadInput) {
  expect_error({"validate", "none.json"}, 2, "none.json: ");
  expect_error({"validate", "."}, 2, ".: ");
  const auto refuse = [&](const std::string& text, const std::string& message) {
    write("edited.json", text);
    expect_error({"validate", "edited.json"}, 2, message);
    expect_error({"simulate", "edited.json", "--profile", "profile.json"}, 2, message);
  };
  refuse("", "edited.json: not JSON at byte 1");
  refuse("{", "edited.json: not JSON");
  refuse("[]", "edited.json: found [], expected an object");
  refuse("{}", "edited.json: format: found nothing");
  refuse("\xff", "edited.json: not JSON");
  refuse(std::string(100000, '['), "nested deeper than 64");
  refuse("{\"format\": 1, \"format\": 2}", "key \"format\" stands twice");
  refuse(read("profile.json"), "format: found \"infinipipe.profile\"");
  refuse("{\"format\": \"infinipipe.plan\", \"version\": 3}", "version: found 3, expected 1 to 2");
  refuse(read("plan.json").substr(0, 700), "edited.json: not JSON");
}

TEST_F(PlanFiles, EveryEditIsNamed) {
  using Pointer = Json::json_pointer;
  const auto set = [&](const char* pointer, const Json& value) {
    return [pointer, value](Json& json) { json.at(Pointer(pointer)) = value; };
  };
  const std::string chunks = "/replicas/0/pipelines/0/chunks";
  const std::string lists = "/replicas/0/instructions";
  const auto remove = [](const std::string& pointer, std::size_t index) {
    return [pointer, index](Json& json) { json.at(Pointer(pointer)).erase(index); };
  };
  const auto swap = [](const std::string& list, std::size_t a, std::size_t b) {
    return [list, a, b](Json& json) {
      std::swap(json.at(Pointer(list)).at(a), json.at(Pointer(list)).at(b));
    };
  };
  // Fields that cannot be.
  expect_refusal(set("/replicas/0/pipelines/0/chunks/0/recompute/0", -1),
                 "chunks[0].recompute[0]: found -1");
  expect_refusal(set("/replicas/0/instructions/0/0", "G0.0"), "instructions[0][0]: found \"G0.0\"");
  expect_refusal([](Json& json) { json.erase("sequences"); }, "sequences: found nothing");
  expect_refusal(set("/replicas/0/pipelines/0/chunks/1/context", 5), "chunks[1].context: found 5");
  // Degrees have the limits that configurations have.
  expect_refusal(set("/parallelism/stages", 2147483647),
                 "parallelism.stages: found 2147483647, expected a whole number from 1 to 1024");
  for (const int degree : {0, 5000, 2147483647}) {
    const std::string found = ": found " + std::to_string(degree);
    const std::string expected = ", expected a whole number from 1 to 4096";
    expect_refusal(set("/parallelism/sequence_parallel", degree),
                   "parallelism.sequence_parallel" + found + expected);
    expect_refusal(set("/parallelism/data_parallel", degree),
                   "parallelism.data_parallel" + found + expected);
  }
  expect_refusal(
      [](Json& json) {
        json["parallelism"]["sequence_parallel"] = 4096;
        json["parallelism"]["data_parallel"] = 4096;
      },
      "parallelism: found 33554432 devices in all, expected at most 1048576");
  // What does not fit together.
  expect_refusal(set("/parallelism/stages", 3), "edited.json: shape: stages: 2 stages");
  expect_refusal(remove(lists, 1), "shape: replica 0: 1 instruction lists");
  expect_refusal(set("/stages/1/layers/0", 3), "layers: stage 1: layers [3, 4)");
  expect_refusal(set("/sequences/0", 299), "slice: replica 0, pipeline 0, chunk 2: tokens");
  expect_refusal(set("/sequences/0", 301), "coverage: sequence 0: tokens [300, 301) in no slice");
  expect_refusal(remove(chunks, 4), "coverage: sequence 3: tokens [0, 12) in no slice");
  expect_refusal(set("/replicas/0/pipelines/0/chunks/3/kind", "split"), "kind: replica 0");
  expect_refusal(
      [](Json& json) {
        Json& pipelines = json["replicas"][0]["pipelines"];
        std::swap(pipelines[0]["chunks"][0], pipelines[1]["chunks"][0]);
      },
      "sequence scattered: sequence 0");
  expect_refusal(set("/replicas/0/pipelines/0/chunks/0/recompute/1", 3),
                 "recompute: replica 0, pipeline 0, chunk 0: stage 1 recomputes 3 layers");
  expect_refusal(set("/replicas/0/instructions/0/0", "F0.9"),
                 "unknown chunk: replica 0, stage 0: F0.9");
  expect_refusal(remove(lists + "/1", 0), "missing instruction: replica 0, stage 1: no F0.0");
  expect_refusal([](Json& json) { json["replicas"][0]["instructions"][0].push_back("F0.0"); },
                 "duplicate instruction: replica 0, stage 0: F0.0 twice");
  expect_refusal([](Json& json) { json["replicas"][0]["instructions"][0].push_back("W0.0"); },
                 "mixed backward: replica 0, stage 0: B0.0 and W0.0");
  expect_refusal(swap(lists + "/0", 0, 1), "forward order: replica 0, stage 0: F0.1");
  expect_refusal(swap(chunks, 0, 1), "forward order: replica 0, pipeline 0, chunk 0");
  expect_refusal(swap("/replicas/0/pipelines/0/backward", 0, 2),
                 "backward order: replica 0, pipeline 0, backward: chunk 0 before chunk 1");
  const std::string only = R"([{"kind": "batched", "context": 0,
      "slices": [{"sequence": N, "begin": 0, "end": 10}], "recompute": [0, 0]}])";
  const auto two_pipelines = [&](const std::string& first, const std::string& second) {
    return [=](Json& json) {
      json["sequences"] = {10, 10};
      Json pipelines = Json::array();
      for (const char* number : {"0", "1"}) {
        std::string text = only;
        text.replace(text.find('N'), 1, number);
        pipelines.push_back({{"chunks", Json::parse(text)}, {"backward", {0}}});
      }
      json["replicas"][0] = {{"pipelines", pipelines},
                             {"instructions", {Json::parse(first), Json::parse(second)}}};
    };
  };
  expect_refusal(
      two_pipelines(R"(["F0.0", "F1.0", "B0.0", "B1.0"])", R"(["F1.0", "F0.0", "B0.0", "B1.0"])"),
      "channel order: replica 0, stage 1: F1.0 where stage 0 sends F0.0");
  expect_refusal(
      two_pipelines(R"(["F0.0", "B0.0", "F1.0", "B1.0"])", R"(["F0.0", "F1.0", "B0.0", "B1.0"])"),
      "deadlock: replica 0: stage 0 waits at B0.0 for stage 1; stage 1 waits at F1.0");
  // Still a plan, but not the one that was made.
  expect_refusal(set("/replicas/0/pipelines/0/chunks/0/recompute/1", 2),
                 "edited.json: hash: found ");
  Json json = read_json_file(path("plan.json"));
  json.erase("hash");
  json["replicas"][0]["pipelines"][0]["chunks"][0]["recompute"][1] = 2;
  write("edited.json", json.dump());
  EXPECT_EQ(run({"validate", "edited.json"}).out, "valid\n");
}

TEST_F(PlanFiles, MemoryIsProvenWithAProfile) {
  const auto limited = [&](double bytes) {
    Plan plan = testing::make_plan();
    plan.bytes_per_stage = bytes;
    write_plan(path("limited.json"), plan);
  };
  limited(1e12);
  EXPECT_EQ(run({"validate", "limited.json", "--profile", "profile.json"}).code, 0);
  limited(1e5);
  EXPECT_EQ(run({"validate", "limited.json"}).code, 0);
  expect_error({"validate", "limited.json", "--profile", "profile.json"}, 1, "plan: stage ");
  expect_error({"validate", "plan.json", "--profile", "none.json"}, 2, "none.json: ");
  // Without a limit in the plan the profile's counts.
  Json profile = read_json_file(path("profile.json"));
  profile["device"]["memory_bytes"] = 1e5;
  write("small.json", profile.dump());
  expect_error({"validate", "plan.json", "--profile", "small.json"}, 1, "plan: stage ");
}

TEST_F(PlanFiles, SimulationRepeatsThePrediction) {
  write("lengths.txt", "3000\n200\n100\n1700\n50\n900\n");
  ASSERT_EQ(run({"plan", "--lengths", "lengths.txt", "--out", "made.json", "--parallelism.stages",
                 "2", "--cluster.profile", "profile.json"})
                .code,
            0);
  EXPECT_EQ(run({"validate", "made.json", "--profile", "profile.json"}).out, "valid\n");
  const Json plan = read_json_file(path("made.json"));
  const auto outcome = run({"simulate", "made.json", "--profile", "profile.json", "--json", "-"});
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  const Json simulated = parse_json(outcome.out, "simulate");
  EXPECT_EQ(simulated["seconds"], plan["predicted"]["seconds"]);
  EXPECT_EQ(simulated["bubble"], plan["predicted"]["bubble"]);
  EXPECT_EQ(simulated["stages"], plan["predicted"]["stages"]);
  EXPECT_EQ(simulated["plan_hash"], plan["hash"]);
  EXPECT_EQ(simulated["profile_hash"], plan["profile_hash"]);
  EXPECT_THAT(run({"simulate", "made.json", "--profile", "profile.json"}).out, HasSubstr("stage"));
  // The same again: the same decisions.
  ASSERT_EQ(run({"plan", "--lengths", "lengths.txt", "--out", "again.json", "--parallelism.stages",
                 "2", "--cluster.profile", "profile.json"})
                .code,
            0);
  EXPECT_EQ(read_json_file(path("again.json"))["hash"], plan["hash"]);
}

// The same layout has the same plan and the same step whoever asks for it.
TEST_F(PlanFiles, EveryCommandCountsTheWholeStep) {
  write("lengths.txt", "60000\n20000\n10000\n1700\n500\n900\n30000\n4000\n");
  const std::string profile = testing::profile_path("llama-7b-a800.json");
  const std::vector<std::string> base = {
      "plan", "-q", "--lengths", "lengths.txt", "--cluster.profile", profile};
  const auto make = [&](const std::string& out, std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    more.insert(more.end(), {"--out", out});
    const auto outcome = run(more);
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    return read_json_file(path(out));
  };
  const Json chosen = make("chosen.json", {"--auto", "--cluster.devices", "32"});
  const auto degree = [&](const char* name) {
    return std::to_string(chosen["parallelism"][name].get<int>());
  };
  const Json given =
      make("given.json",
           {"--parallelism.stages", degree("stages"), "--parallelism.sequence_parallel",
            degree("sequence_parallel"), "--parallelism.data_parallel", degree("data_parallel")});
  EXPECT_EQ(given["hash"], chosen["hash"]);
  EXPECT_EQ(given["predicted"], chosen["predicted"]);
  const Json replicas = make("replicas.json", {"--parallelism.sequence_parallel", "8",
                                               "--parallelism.data_parallel", "4"});
  EXPECT_GT(replicas["predicted"]["step_overhead"].get<double>(), 0.0);
  // Simulated on its own machine a plan keeps what it says; on another the overhead is that one's.
  const auto simulated = [&](const std::string& machine) {
    const auto outcome = run({"simulate", "replicas.json", "--profile", machine, "--json", "-"});
    EXPECT_EQ(outcome.code, 0) << outcome.error;
    return parse_json(outcome.out, "simulate");
  };
  EXPECT_EQ(simulated(profile)["step_overhead"], replicas["predicted"]["step_overhead"]);
  Json fast = read_json_file(profile);
  for (const char* name : {"all_gather", "reduce_scatter"}) {
    for (Json& bandwidth : fast["links"][name]) bandwidth = 2.0 * bandwidth.get<double>();
  }
  write("fast.json", fast.dump());
  EXPECT_LT(simulated("fast.json")["step_overhead"].get<double>(),
            0.51 * replicas["predicted"]["step_overhead"].get<double>());
  // One replica on one device has nothing of this.
  const Json alone = make("alone.json", {"--parallelism.stages", "8"});
  EXPECT_EQ(alone["predicted"]["step_overhead"], 0);
}

TEST_F(PlanFiles, BandwidthsThatLackAreSaid) {
  write("lengths.txt", "3000\n200\n100\n1700\n50\n900\n");
  Json profile = read_json_file(testing::profile_path("llama-7b-a800.json"));
  for (const char* name : {"all_gather", "reduce_scatter"}) {
    profile["links"][name].erase("32");
  }
  write("some.json", profile.dump());
  const auto outcome = run({"plan", "--lengths", "lengths.txt", "--cluster.profile", "some.json",
                            "--out", "made.json", "--parallelism.sequence_parallel", "8",
                            "--parallelism.data_parallel", "4"});
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_THAT(outcome.error, HasSubstr("gathers and reductions are not counted: profile: links."
                                       "all_gather: no bandwidth for degree 32"));
  EXPECT_EQ(read_json_file(path("made.json"))["predicted"]["step_overhead"], 0);
}

TEST_F(PlanFiles, AnotherProfileIsSaid) {
  write("lengths.txt", "3000\n200\n100\n1700\n50\n900\n");
  ASSERT_EQ(run({"plan", "--lengths", "lengths.txt", "--out", "made.json", "--cluster.profile",
                 "profile.json"})
                .code,
            0);
  Json other = read_json_file(path("profile.json"));
  other["forward"]["seconds_per_token"] = 2.0 * other["forward"]["seconds_per_token"].get<double>();
  write("other.json", other.dump());
  const std::string own = read_json_file(path("made.json"))["profile_hash"];
  for (const char* command : {"validate", "simulate"}) {
    const auto same = run({command, "made.json", "--profile", "profile.json"});
    EXPECT_EQ(same.code, 0);
    EXPECT_EQ(same.error, "");
    const auto told = run({command, "made.json", "--profile", "other.json", "-q"});
    EXPECT_EQ(told.code, 0);
    EXPECT_THAT(told.error, HasSubstr("warning: made.json was made with profile " + own +
                                      ", and other.json is "));
  }
}

TEST_F(PlanFiles, SimulationWritesTraceAndTimeline) {
  auto outcome = run({"simulate", "plan.json", "--profile", "profile.json", "--trace", "t.json",
                      "--html", "t.html"});
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  const Trace trace = read_trace(path("t.json"));
  EXPECT_EQ(trace.events.size(), 2U * 2U * 10U);
  EXPECT_THAT(read("t.html"), HasSubstr("<html"));
  // The prediction taken for a measurement is met exactly.
  outcome = run({"simulate", "plan.json", "--profile", "profile.json", "--measured", "t.json"});
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_GT(outcome.out.size(),
            run({"simulate", "plan.json", "--profile", "profile.json"}).out.size());
  expect_error({"simulate", "plan.json", "--profile", "profile.json", "--measured", "none.json"}, 2,
               "none.json: ");
  expect_error({"simulate", "plan.json", "--profile", "profile.json", "--measured", "plan.json"}, 2,
               "plan.json");
  expect_error({"simulate", "plan.json", "--profile", "profile.json", "--html", "no/such/t.html"},
               1, "no/such/t.html");
}

TEST_F(PlanFiles, SimulateRefusesABrokenPlan) {
  Json json = read_json_file(path("plan.json"));
  json.erase("hash");
  json["replicas"][0]["instructions"][1].erase(0);
  write("edited.json", json.dump());
  expect_error({"simulate", "edited.json", "--profile", "profile.json"}, 1,
               "edited.json: missing instruction: replica 0, stage 1: no F0.0");
}

}  // namespace
}  // namespace infinipipe
