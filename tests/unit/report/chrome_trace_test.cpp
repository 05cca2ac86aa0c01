#include "infinipipe/report/chrome_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "infinipipe/base/error.h"
#include "unit/report/test_traces.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using testing::make_plan;
using testing::make_trace;
using testing::PlanShape;

void expect_equal(const Trace& a, const Trace& b) {
  constexpr double kNear = 1e-12;
  EXPECT_EQ(a.source, b.source);
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.seconds, b.seconds);
  ASSERT_EQ(a.events.size(), b.events.size());
  for (std::size_t i = 0; i < a.events.size(); ++i) {
    EXPECT_EQ(a.events[i].replica, b.events[i].replica);
    EXPECT_EQ(a.events[i].stage, b.events[i].stage);
    EXPECT_EQ(a.events[i].instruction, b.events[i].instruction);
    EXPECT_NEAR(a.events[i].ready, b.events[i].ready, kNear);
    EXPECT_NEAR(a.events[i].begin, b.events[i].begin, kNear);
    EXPECT_NEAR(a.events[i].end, b.events[i].end, kNear);
    EXPECT_NEAR(a.events[i].recompute, b.events[i].recompute, kNear);
  }
  ASSERT_EQ(a.transfers.size(), b.transfers.size());
  for (std::size_t i = 0; i < a.transfers.size(); ++i) {
    EXPECT_EQ(a.transfers[i].replica, b.transfers[i].replica);
    EXPECT_EQ(a.transfers[i].from, b.transfers[i].from);
    EXPECT_EQ(a.transfers[i].to, b.transfers[i].to);
    EXPECT_EQ(a.transfers[i].producer, b.transfers[i].producer);
    EXPECT_NEAR(a.transfers[i].begin, b.transfers[i].begin, kNear);
    EXPECT_NEAR(a.transfers[i].end, b.transfers[i].end, kNear);
    EXPECT_EQ(a.transfers[i].bytes, b.transfers[i].bytes);
  }
  ASSERT_EQ(a.memory.size(), b.memory.size());
  for (std::size_t i = 0; i < a.memory.size(); ++i) {
    EXPECT_EQ(a.memory[i].replica, b.memory[i].replica);
    EXPECT_EQ(a.memory[i].stage, b.memory[i].stage);
    EXPECT_NEAR(a.memory[i].at, b.memory[i].at, kNear);
    EXPECT_EQ(a.memory[i].bytes, b.memory[i].bytes);
  }
}

PlanShape two_replicas() {
  PlanShape shape;
  shape.stages = 3;
  shape.replicas = 2;
  return shape;
}

TEST(ChromeTrace, ReadsBackWhatItWrote) {
  Plan plan = make_plan(two_replicas());
  plan.step = 12;
  Trace trace = make_trace(plan, "measured");
  trace.events[3].ready -= 0.25;
  expect_equal(trace_from_json(trace_to_json(trace, &plan), "t"), trace);
  expect_equal(trace_from_json(trace_to_json(trace), "t"), trace);
}

TEST(ChromeTrace, FileIsTheSameDocument) {
  const Plan plan = make_plan(two_replicas());
  const Trace trace = make_trace(plan);
  const auto path = std::filesystem::temp_directory_path() /
                    ("infinipipe_trace_" + std::to_string(getpid()) + ".json");
  write_trace(path.string(), trace, &plan);
  EXPECT_EQ(read_json_file(path.string()), trace_to_json(trace, &plan));
  expect_equal(read_trace(path.string()), trace);
  std::filesystem::remove(path);
}

// What Perfetto needs: known phases, microseconds, named lanes, blocks of a lane nested or apart.
TEST(ChromeTrace, RecordsAreWellFormed) {
  const Plan plan = make_plan(two_replicas());
  const Trace trace = make_trace(plan);
  const Json json = trace_to_json(trace, &plan);
  std::map<std::pair<int, int>, std::string> lanes;
  std::map<std::pair<int, int>, double> free;
  std::size_t blocks = 0, counters = 0, recomputed = 0;
  for (const Json& record : json["traceEvents"]) {
    const std::pair<int, int> lane = {record["pid"], record["tid"]};
    if (record["ph"] == "M") {
      if (record["name"] == "thread_name") lanes[lane] = record["args"]["name"];
      continue;
    }
    EXPECT_TRUE(lanes.contains(lane)) << record;
    if (record["ph"] == "C") {
      EXPECT_EQ(
          record["args"]["total"].get<double>(),
          record["args"]["weights"].get<double>() + record["args"]["activations"].get<double>());
      EXPECT_FALSE(record["args"].contains("optimizer")) << "nothing of it anywhere";
      ++counters;
      continue;
    }
    ASSERT_EQ(record["ph"], "X");
    const double begin = record["ts"], end = begin + record["dur"].get<double>();
    if (record["cat"] == "recompute") {
      EXPECT_LE(end, free[lane] + 1e-6) << "within its backward";
      ++recomputed;
      continue;
    }
    if (record["cat"] != "transfer") {
      EXPECT_GE(begin, free[lane] - 1e-6);
    }
    free[lane] = std::max(free[lane], end);
    ++blocks;
  }
  EXPECT_EQ(blocks, trace.events.size() + trace.transfers.size());
  EXPECT_EQ(counters, trace.memory.size());
  EXPECT_GT(recomputed, 0u);
  EXPECT_EQ((lanes[{1, 3}]), "stage 1");
  EXPECT_EQ((lanes[{1, 4}]), "stage 1 sends down");
  EXPECT_EQ((lanes[{1, 5}]), "stage 1 sends up");
}

TEST(ChromeTrace, PlanAddsWhatChunksAre) {
  const Plan plan = make_plan();
  const Json json = trace_to_json(make_trace(plan), &plan);
  for (const Json& record : json["traceEvents"]) {
    if (record.value("name", "") != "F0.2" || record["cat"] != "forward") continue;
    EXPECT_EQ(record["args"]["kind"], "hybrid");
    EXPECT_EQ(record["args"]["tokens"], 110);
    EXPECT_EQ(record["args"]["context"], 200);
    return;
  }
  FAIL() << "no F0.2";
}

TEST(ChromeTrace, OtherProgramsRecordsArePassedOver) {
  const Plan plan = make_plan();
  const Trace trace = make_trace(plan);
  Json json = trace_to_json(trace, &plan);
  json["traceEvents"].push_back({{"ph", "i"}, {"name", "mark"}, {"ts", 1}});
  json["traceEvents"].push_back({{"ph", "X"}, {"cat", "kernel"}, {"name", "gemm"}});
  expect_equal(trace_from_json(json, "t"), trace);
}

std::string refusal(const Json& json) {
  try {
    trace_from_json(json, "t.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(ChromeTrace, DamageIsNamed) {
  const Plan plan = make_plan();
  const Json good = trace_to_json(make_trace(plan), &plan);
  const auto first = [&](const char* category) {
    std::size_t i = 0;
    while (good["traceEvents"][i].value("cat", "") != category) ++i;
    return i;
  };
  const auto broken = [&](std::size_t record, const char* key, const Json& value) {
    Json json = good;
    json["traceEvents"][record][key] = value;
    return refusal(json);
  };
  EXPECT_THAT(refusal(Json::array()), HasSubstr("t.json"));
  EXPECT_THAT(refusal(Json::object()), HasSubstr("otherData: found nothing"));
  Json json = good;
  json["otherData"]["format"] = "perfetto";
  EXPECT_THAT(refusal(json), HasSubstr("otherData.format"));
  json = good;
  json["otherData"]["version"] = 2;
  EXPECT_THAT(refusal(json), HasSubstr("otherData.version: found 2"));
  json = good;
  json["otherData"]["seconds"] = -1.0;
  EXPECT_THAT(refusal(json), HasSubstr("otherData.seconds"));
  json = good;
  json["traceEvents"] = 3;
  EXPECT_THAT(refusal(json), HasSubstr("traceEvents"));
  const std::size_t f = first("forward"), t = first("transfer"), m = first("memory");
  const std::string at = "traceEvents[" + std::to_string(f) + "].";
  for (const char* name :
       {"X0.1", "F", "F0", "F0.", "F.1", "F0.1x", "F-1.0", "F0.-1", "", "F99999999999.0"}) {
    EXPECT_THAT(broken(f, "name", name), HasSubstr(at + "name")) << name;
  }
  EXPECT_THAT(broken(f, "ts", "now"), HasSubstr(at + "ts"));
  EXPECT_THAT(broken(f, "dur", -1.0), HasSubstr(at + "dur"));
  EXPECT_THAT(broken(f, "tid", -1), HasSubstr(at + "tid"));
  EXPECT_THAT(broken(f, "pid", 0.5), HasSubstr(at + "pid"));
  EXPECT_THAT(broken(t, "args", Json::object()), HasSubstr("args.from: found nothing"));
  EXPECT_THAT(broken(m, "args", {{"weights", "much"}}), HasSubstr("args.weights"));
}

}  // namespace
}  // namespace infinipipe
