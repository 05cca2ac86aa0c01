#include "infinipipe/report/chrome_trace.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "infinipipe/base/error.h"
#include "infinipipe/base/file.h"

namespace infinipipe {
namespace {

constexpr double kMicroseconds = 1e6;
constexpr int kLanes = 3;  // of a stage: instructions, messages down, messages up
constexpr std::string_view kFormat = "infinipipe.trace";

const char* category(Op op) {
  switch (op) {
    case Op::kForward:
      return "forward";
    case Op::kBackward:
      return "backward";
    case Op::kInputGrad:
      return "input_gradient";
    case Op::kWeightGrad:
      return "weight_gradient";
  }
  return "unknown";
}

const Chunk* find_chunk(const Plan* plan, ReplicaId replica, const Instruction& instruction) {
  if (plan == nullptr || replica.index() >= plan->replicas.size()) return nullptr;
  const auto& pipelines = plan->replicas[replica.index()].pipelines;
  if (instruction.pipeline.index() >= pipelines.size()) return nullptr;
  const auto& chunks = pipelines[instruction.pipeline.index()].chunks;
  return instruction.chunk.index() < chunks.size() ? &chunks[instruction.chunk.index()] : nullptr;
}

Json metadata(int pid, int tid, const char* what, Json args) {
  return {{"ph", "M"}, {"pid", pid}, {"tid", tid}, {"name", what}, {"args", std::move(args)}};
}

void name_lanes(const Trace& trace, const std::function<void(Json)>& sink) {
  std::set<std::pair<int, int>> stages;
  for (const TraceEvent& event : trace.events) {
    stages.emplace(event.replica.value(), event.stage.value());
  }
  for (const MemorySample& sample : trace.memory) {
    stages.emplace(sample.replica.value(), sample.stage.value());
  }
  constexpr const char* kNames[kLanes] = {"", " sends down", " sends up"};
  int last = -1;
  for (const auto& [replica, stage] : stages) {
    if (replica != last) {
      sink(metadata(replica, 0, "process_name", {{"name", "replica " + std::to_string(replica)}}));
    }
    last = replica;
    for (int lane = 0; lane < kLanes; ++lane) {
      const int tid = kLanes * stage + lane;
      sink(metadata(replica, tid, "thread_name",
                    {{"name", "stage " + std::to_string(stage) + kNames[lane]}}));
      sink(metadata(replica, tid, "thread_sort_index", {{"sort_index", tid}}));
    }
  }
}

void write_event(const TraceEvent& event, const Plan* plan, const std::function<void(Json)>& sink) {
  Json record = {{"ph", "X"},
                 {"pid", event.replica.value()},
                 {"tid", kLanes * event.stage.value()},
                 {"ts", event.begin * kMicroseconds},
                 {"dur", (event.end - event.begin) * kMicroseconds},
                 {"name", to_string(event.instruction)},
                 {"cat", category(event.instruction.op)},
                 {"args",
                  {{"stage", event.stage.value()},
                   {"ready_us", event.ready * kMicroseconds},
                   {"recompute_us", event.recompute * kMicroseconds}}}};
  if (const Chunk* chunk = find_chunk(plan, event.replica, event.instruction)) {
    Json& args = record["args"];
    args["kind"] = to_string(chunk->kind);
    args["tokens"] = chunk->tokens();
    args["context"] = chunk->context();
    args["slices"] = chunk->slices.size();
  }
  const double begin = record["ts"];
  sink(std::move(record));
  if (event.recompute > 0.0) {  // a block within the block
    sink({{"ph", "X"},
          {"pid", event.replica.value()},
          {"tid", kLanes * event.stage.value()},
          {"ts", begin},
          {"dur", event.recompute * kMicroseconds},
          {"name", "recompute"},
          {"cat", "recompute"}});
  }
}

void write_transfer(const TransferEvent& transfer, const std::function<void(Json)>& sink) {
  const int lane = transfer.to > transfer.from ? 1 : 2;
  sink({{"ph", "X"},
        {"pid", transfer.replica.value()},
        {"tid", kLanes * transfer.from.value() + lane},
        {"ts", transfer.begin * kMicroseconds},
        {"dur", (transfer.end - transfer.begin) * kMicroseconds},
        {"name", to_string(transfer.producer)},
        {"cat", "transfer"},
        {"args",
         {{"from", transfer.from.value()},
          {"to", transfer.to.value()},
          {"bytes", transfer.bytes}}}});
}

void write_memory(const Trace& trace, const std::function<void(Json)>& sink) {
  std::array<bool, kMemoryPurposes> used{};
  for (const MemorySample& sample : trace.memory) {
    for (std::size_t i = 0; i < kMemoryPurposes; ++i) used[i] = used[i] || sample.bytes[i] != 0.0;
  }
  for (const MemorySample& sample : trace.memory) {
    Json args;
    Bytes total = 0.0;
    for (std::size_t i = 0; i < kMemoryPurposes; ++i) {
      total += sample.bytes[i];
      if (used[i]) args[to_string(static_cast<MemoryPurpose>(i))] = sample.bytes[i];
    }
    args["total"] = total;
    sink({{"ph", "C"},
          {"pid", sample.replica.value()},
          {"tid", kLanes * sample.stage.value()},
          {"ts", sample.at * kMicroseconds},
          {"name", "memory of stage " + std::to_string(sample.stage.value())},
          {"cat", "memory"},
          {"args", std::move(args)}});
  }
}

void for_each_record(const Trace& trace, const Plan* plan, const std::function<void(Json)>& sink) {
  name_lanes(trace, sink);
  for (const TraceEvent& event : trace.events) write_event(event, plan, sink);
  for (const TransferEvent& transfer : trace.transfers) write_transfer(transfer, sink);
  write_memory(trace, sink);
}

Json other_data(const Trace& trace) {
  return {{"format", kFormat},
          {"version", 1},
          {"source", trace.source},
          {"step", trace.step},
          {"seconds", trace.seconds}};
}

// "F0.3"
Instruction read_instruction(const JsonView& view) {
  const std::string text = view.string();
  std::optional<Op> op;
  for (const Op known : {Op::kForward, Op::kBackward, Op::kInputGrad, Op::kWeightGrad}) {
    if (!text.empty() && text[0] == op_letter(known)) op = known;
  }
  int pipeline = -1;
  int chunk = -1;
  const char* end = text.data() + text.size();
  if (op) {
    const auto first = std::from_chars(text.data() + 1, end, pipeline);
    if (first.ec == std::errc() && first.ptr != end && *first.ptr == '.') {
      const auto second = std::from_chars(first.ptr + 1, end, chunk);
      if (second.ec != std::errc() || second.ptr != end) chunk = -1;
    }
  }
  if (pipeline < 0 || chunk < 0) view.fail("an instruction, as F0.3");
  return {*op, PipelineId(pipeline), ChunkId(chunk)};
}

struct Lane {
  int stage = 0;
  int lane = 0;
};

constexpr std::int64_t kMostStages = 1 << 20;

Lane read_lane(const JsonView& record) {
  const auto tid = static_cast<int>(record.at("tid").integer(0, kMostStages * kLanes));
  return {tid / kLanes, tid % kLanes};
}

ReplicaId read_replica(const JsonView& record) {
  return ReplicaId(record.at("pid").integer(0, kMostStages));
}

Seconds read_time(const JsonView& record, std::string_view key) {
  return record.at(key).number() / kMicroseconds;
}

void read_event(const JsonView& record, Trace& trace) {
  const JsonView args = record.at("args");
  TraceEvent event;
  event.replica = read_replica(record);
  event.stage = StageId(read_lane(record).stage);
  event.instruction = read_instruction(record.at("name"));
  event.begin = read_time(record, "ts");
  event.end = event.begin + record.at("dur").number(0.0) / kMicroseconds;
  event.ready = args.number_or("ready_us", event.begin * kMicroseconds) / kMicroseconds;
  event.recompute = args.number_or("recompute_us", 0.0) / kMicroseconds;
  trace.events.push_back(event);
}

void read_transfer(const JsonView& record, Trace& trace) {
  const JsonView args = record.at("args");
  TransferEvent transfer;
  transfer.replica = read_replica(record);
  transfer.from = StageId(args.at("from").integer(0, kMostStages));
  transfer.to = StageId(args.at("to").integer(0, kMostStages));
  transfer.producer = read_instruction(record.at("name"));
  transfer.begin = read_time(record, "ts");
  transfer.end = transfer.begin + record.at("dur").number(0.0) / kMicroseconds;
  transfer.bytes = args.number_or("bytes", 0.0);
  trace.transfers.push_back(transfer);
}

void read_sample(const JsonView& record, Trace& trace) {
  const JsonView args = record.at("args");
  MemorySample sample;
  sample.replica = read_replica(record);
  sample.stage = StageId(read_lane(record).stage);
  sample.at = read_time(record, "ts");
  for (std::size_t i = 0; i < kMemoryPurposes; ++i) {
    const char* name = to_string(static_cast<MemoryPurpose>(i));
    if (args.has(name)) sample.bytes[i] = args.at(name).number();
  }
  trace.memory.push_back(sample);
}

}  // namespace

Json trace_to_json(const Trace& trace, const Plan* plan) {
  Json records = Json::array();
  for_each_record(trace, plan, [&](Json record) { records.push_back(std::move(record)); });
  return {{"displayTimeUnit", "ms"},
          {"otherData", other_data(trace)},
          {"traceEvents", std::move(records)}};
}

// One record a line, without the whole document in memory twice.
void write_trace(const std::string& path, const Trace& trace, const Plan* plan) {
  std::string text =
      "{\"displayTimeUnit\":\"ms\",\"otherData\":" + canonical_json(other_data(trace)) +
      ",\"traceEvents\":[\n";
  bool first = true;
  for_each_record(trace, plan, [&](const Json& record) {
    if (!first) text += ",\n";
    first = false;
    text += canonical_json(record);
  });
  text += "\n]}\n";
  write_file(path, text);
}

Trace trace_from_json(const Json& json, const std::string& where) {
  const JsonView root(json, where);
  const JsonView other = root.at("otherData");
  check_format(other, kFormat);
  Trace trace;
  trace.source = other.at("source").string();
  trace.step = static_cast<int>(other.integer_or("step", 0));
  trace.seconds = other.at("seconds").number(0.0);
  root.at("traceEvents").for_each([&](const JsonView& record) {
    if (!record.json().is_object()) record.fail("an object");
    const std::string category = record.string_or("cat", "");
    if (category == "transfer") {
      read_transfer(record, trace);
    } else if (category == "memory") {
      read_sample(record, trace);
    } else if (category == "forward" || category == "backward" || category == "input_gradient" ||
               category == "weight_gradient") {
      read_event(record, trace);
    }
  });
  return trace;
}

Trace read_trace(const std::string& path) { return trace_from_json(read_json_file(path), path); }

}  // namespace infinipipe
