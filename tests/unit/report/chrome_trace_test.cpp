#include "infinipipe/report/chrome_trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/random.h"
#include "infinipipe/base/error.h"
#include "unit/report/test_traces.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using testing::make_plan;
using testing::make_trace;
using testing::PlanShape;

void expect_equal(const Trace& a, const Trace& b) {
  constexpr double kNear = 1.01e-9;  // a length is made of two rounded times
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

using Row = std::pair<std::int64_t, std::int64_t>;  // pid, tid

// A number of the document in nanoseconds, as Perfetto takes it. Fails where it is not whole.
std::int64_t whole_nanoseconds(const Json& microseconds) {
  const double scaled = microseconds.get<double>() * 1e3;
  EXPECT_NEAR(scaled, std::round(scaled), 1e-3) << microseconds;
  return std::llround(scaled);
}

struct Block {
  std::int64_t begin;
  std::int64_t end;
  std::string name;
};

std::map<Row, std::vector<Block>> blocks_of(const Json& json) {
  std::map<Row, std::vector<Block>> rows;
  for (const Json& record : json["traceEvents"]) {
    if (record["ph"] != "X") continue;
    const std::int64_t begin = whole_nanoseconds(record["ts"]);
    rows[{record["pid"], record["tid"]}].push_back(
        {begin, begin + whole_nanoseconds(record["dur"]), record["name"]});
  }
  return rows;
}

// How many blocks Perfetto would drop: those that begin within a block and end after it.
int dropped(const Json& json) {
  int count = 0;
  for (auto& [row, blocks] : blocks_of(json)) {
    std::vector<Block> sorted = blocks;
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Block& a, const Block& b) { return a.begin < b.begin; });
    std::vector<std::int64_t> open;  // ends of the blocks around
    for (const Block& block : sorted) {
      while (!open.empty() && open.back() <= block.begin) open.pop_back();
      if (!open.empty() && block.end > open.back()) {
        ++count;
      } else {
        open.push_back(block.end);
      }
    }
  }
  return count;
}

// What Perfetto needs: known phases, microseconds, named rows, blocks of a row nested or apart.
TEST(ChromeTrace, RecordsAreWellFormed) {
  const Plan plan = make_plan(two_replicas());
  const Trace trace = make_trace(plan);
  const Json json = trace_to_json(trace, &plan);
  std::map<Row, std::string> rows;
  std::map<std::int64_t, std::string> processes;
  std::map<std::int64_t, std::int64_t> order;
  std::size_t blocks = 0, counters = 0, recomputed = 0;
  for (const Json& record : json["traceEvents"]) {
    const Row row = {record["pid"], record["tid"]};
    if (record["ph"] == "M") {
      const Json& args = record["args"];
      if (record["name"] == "thread_name") rows[row] = args["name"];
      if (record["name"] == "process_name") processes[row.first] = args["name"];
      if (record["name"] == "process_sort_index") order[args["sort_index"]] = row.first;
      continue;
    }
    EXPECT_TRUE(rows.contains(row)) << record;
    if (record["ph"] == "C") {
      EXPECT_EQ(
          record["args"]["total"].get<double>(),
          record["args"]["weights"].get<double>() + record["args"]["activations"].get<double>());
      EXPECT_FALSE(record["args"].contains("optimizer")) << "nothing of it anywhere";
      EXPECT_THAT(record["name"].get<std::string>(), HasSubstr(rows[row] + " in bytes"));
      ++counters;
      continue;
    }
    ASSERT_EQ(record["ph"], "X");
    (record["cat"] == "recompute" ? recomputed : blocks) += 1;
  }
  EXPECT_EQ(blocks, trace.events.size() + trace.transfers.size());
  EXPECT_EQ(counters, trace.memory.size());
  EXPECT_GT(recomputed, 0u);
  EXPECT_EQ(dropped(json), 0);

  std::vector<std::string> shown;
  for (const auto& [index, pid] : order) shown.push_back(processes[pid]);
  EXPECT_THAT(shown, ::testing::ElementsAre("replica 0, stage 0", "replica 0, stage 1",
                                            "replica 0, stage 2", "replica 1, stage 0",
                                            "replica 1, stage 1", "replica 1, stage 2"));
  std::map<std::string, int> names;
  for (const auto& [row, name] : rows) ++names[name];
  EXPECT_EQ(names.size(), 9u);
  for (const auto& [name, times] : names) EXPECT_EQ(times, 2) << name << ", one for each replica";
}

TEST(ChromeTrace, NoRowIsTakenForAnother) {
  for (const int replicas : {1, 2, 5}) {
    PlanShape shape = two_replicas();
    shape.replicas = replicas;
    const Plan plan = make_plan(shape);
    std::set<std::int64_t> pids;
    std::map<std::int64_t, std::set<std::int64_t>> processes_of;  // by thread
    const Json json = trace_to_json(make_trace(plan), &plan);
    for (const Json& record : json["traceEvents"]) {
      pids.insert(record["pid"].get<std::int64_t>());
      processes_of[record["tid"]].insert(record["pid"].get<std::int64_t>());
    }
    EXPECT_EQ(pids.size(), static_cast<std::size_t>(3 * replicas));
    EXPECT_FALSE(pids.contains(0)) << "the idle process";
    EXPECT_EQ(processes_of.size(), static_cast<std::size_t>(9 * replicas));
    for (const auto& [thread, processes] : processes_of) {
      EXPECT_EQ(processes.size(), 1u) << thread;
      EXPECT_FALSE(pids.contains(thread)) << "the main thread";
    }
  }
}

// Times as a simulator makes them: sums of odd fractions, where a block ends at the very number at
// which the next one begins, down to blocks of less than a nanosecond.
TEST(ChromeTrace, EveryBlockIsDrawn) {
  Random random(14);
  for (int round = 0; round < 200; ++round) {
    Trace trace;
    trace.source = "simulated";
    const double scale = std::pow(10.0, -9.5 + 8.0 * random.uniform());
    for (int replica = 0; replica < 2; ++replica) {
      for (int stage = 0; stage < 3; ++stage) {
        Seconds at = 3.0 * random.uniform();
        Seconds sent = at;
        for (int i = 0; i < 60; ++i) {
          const Seconds begin = random.uniform() < 0.7 ? at : at + scale * random.uniform();
          at = begin + scale * random.uniform();
          const Instruction instruction{i % 2 == 0 ? Op::kForward : Op::kBackward, PipelineId(0),
                                        ChunkId(i / 2)};
          const Seconds recompute = i % 2 == 0 ? 0.0 : random.uniform() * (at - begin);
          trace.events.push_back({ReplicaId(replica), StageId(stage), instruction, begin, begin, at,
                                  i % 7 == 1 ? at - begin : recompute});
          const Seconds sends = std::max(at, sent);
          sent = sends + scale * random.uniform();
          trace.transfers.push_back({ReplicaId(replica), StageId(stage), StageId(stage + 1),
                                     instruction, sends, sent, 8.0});
        }
        trace.seconds = std::max(trace.seconds, at);
      }
    }
    const Json json = trace_to_json(trace);
    ASSERT_EQ(dropped(json), 0) << round;
    std::size_t drawn = 0;
    for (const auto& [row, blocks] : blocks_of(json)) drawn += blocks.size();
    std::size_t expected = trace.events.size() + trace.transfers.size();
    for (const TraceEvent& event : trace.events) expected += event.recompute > 0.0 ? 1 : 0;
    ASSERT_EQ(drawn, expected);
    expect_equal(trace_from_json(json, "t"), trace);
  }
}

// What the release before wrote: a process for each replica, a thread for each lane, from 0 on.
TEST(ChromeTrace, ReadsVersion1) {
  const Json json = parse_json(R"({"displayTimeUnit": "ms", "otherData": {"format":
    "infinipipe.trace", "seconds": 2.5, "source": "measured", "step": 3, "version": 1},
    "traceEvents": [
    {"args": {"name": "replica 1"}, "name": "process_name", "ph": "M", "pid": 1, "tid": 0},
    {"args": {"ready_us": 5.0, "recompute_us": 0.0, "stage": 1}, "cat": "forward", "dur": 7.25,
     "name": "F0.2", "ph": "X", "pid": 1, "tid": 3, "ts": 10.5},
    {"args": {"bytes": 64.0, "from": 1, "to": 0}, "cat": "transfer", "dur": 1.0, "name": "B0.2",
     "ph": "X", "pid": 1, "tid": 5, "ts": 20.0},
    {"args": {"total": 8.0, "weights": 8.0}, "cat": "memory", "name": "memory of stage 2",
     "ph": "C", "pid": 0, "tid": 6, "ts": 2.0}]})",
                               "old");
  const Trace trace = trace_from_json(json, "old");
  ASSERT_EQ(trace.events.size(), 1u);
  EXPECT_EQ(trace.events[0].replica, ReplicaId(1));
  EXPECT_EQ(trace.events[0].stage, StageId(1));
  EXPECT_NEAR(trace.events[0].end, 17.75e-6, 1e-15);
  ASSERT_EQ(trace.transfers.size(), 1u);
  EXPECT_EQ(trace.transfers[0].replica, ReplicaId(1));
  EXPECT_EQ(trace.transfers[0].from, StageId(1));
  ASSERT_EQ(trace.memory.size(), 1u);
  EXPECT_EQ(trace.memory[0].replica, ReplicaId(0));
  EXPECT_EQ(trace.memory[0].stage, StageId(2));
}

TEST(ChromeTrace, PlanAddsWhatChunksAre) {
  Plan plan = make_plan();
  plan.replicas[0].pipelines[0].chunks[3].degree = 2;
  const Json json = trace_to_json(make_trace(plan), &plan);
  const auto args_of = [&](const std::string& name) -> Json {
    for (const Json& record : json["traceEvents"]) {
      if (record.value("name", "") == name && record["cat"] == "forward") return record["args"];
    }
    ADD_FAILURE() << "no " << name;
    return {};
  };
  EXPECT_EQ(args_of("F0.2")["kind"], "hybrid");
  EXPECT_EQ(args_of("F0.2")["tokens"], 110);
  EXPECT_EQ(args_of("F0.2")["context"], 200);
  EXPECT_FALSE(args_of("F0.2").contains("degree"));
  EXPECT_EQ(args_of("F0.3")["degree"], 2);
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
  json["otherData"]["version"] = 3;
  EXPECT_THAT(refusal(json), HasSubstr("otherData.version: found 3"));
  json = good;
  json["otherData"].erase("stages");
  EXPECT_THAT(refusal(json), HasSubstr("otherData.stages: found nothing"));
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
  EXPECT_THAT(broken(f, "pid", 0.5), HasSubstr(at + "pid"));
  EXPECT_THAT(broken(f, "pid", 0), HasSubstr(at + "pid"));
  EXPECT_THAT(broken(f, "pid", 1000), HasSubstr(at + "pid"));
  EXPECT_THAT(broken(t, "args", Json::object()), HasSubstr("args.from: found nothing"));
  EXPECT_THAT(broken(m, "args", {{"weights", "much"}}), HasSubstr("args.weights"));
}

}  // namespace
}  // namespace infinipipe
