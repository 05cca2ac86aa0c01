#include "infinipipe/report/chrome_trace.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "base/file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr double kNanoseconds = 1e9;
constexpr double kMicroseconds = 1e6;
constexpr int kLanes = 3;  // of a stage: instructions, messages down, messages up
constexpr std::int64_t kMostStages = 1 << 20;
constexpr std::string_view kFormat = "infinipipe.trace";

// Perfetto counts whole nanoseconds and drops a block that ends within the next one of its row. A
// time is therefore rounded before a length is made of it: blocks that touch go on touching.
std::int64_t nanoseconds(Seconds time) {
  constexpr double kLast = 0x1.0p62;  // 146 years
  return std::llround(std::clamp(time * kNanoseconds, -kLast, kLast));
}
// As the format spells times: microseconds, here with at most three decimals.
double microseconds(std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e3; }
double microseconds(Seconds time) { return microseconds(nanoseconds(time)); }

// Numbers of processes and threads. A stage of a replica is a process, because Perfetto keeps a
// process's counters beside its threads. To Perfetto, process 0 is the idle one, a thread is one
// thing whatever process names it, and a thread with its process's number is the main thread; so
// processes are 1 to count(), and the lanes have numbers after these.
class Rows final {
 public:
  Rows() = default;
  Rows(int replicas, int stages) : replicas_(replicas), stages_(stages) {}
  explicit Rows(const Trace& trace) {
    const auto include = [&](ReplicaId replica, StageId stage) {
      replicas_ = std::max(replicas_, replica.value() + 1);
      stages_ = std::max(stages_, stage.value() + 1);
    };
    for (const TraceEvent& event : trace.events) include(event.replica, event.stage);
    for (const TransferEvent& transfer : trace.transfers) include(transfer.replica, transfer.from);
    for (const MemorySample& sample : trace.memory) include(sample.replica, sample.stage);
  }

  int replicas() const { return replicas_; }
  int stages() const { return stages_; }

  std::int64_t process(ReplicaId replica, StageId stage) const {
    return 1 + std::int64_t{replica.value()} * stages_ + stage.value();
  }
  std::int64_t thread(ReplicaId replica, StageId stage, int lane) const {
    return 1 + count() + kLanes * (process(replica, stage) - 1) + lane;
  }

  // Where a record stands, by its `pid`. Throws InputError for one that is none of these.
  std::pair<ReplicaId, StageId> place(const JsonView& record) const {
    const std::int64_t number = record.at("pid").integer(1, count()) - 1;
    return {ReplicaId(number / stages_), StageId(number % stages_)};
  }

 private:
  std::int64_t count() const { return std::int64_t{replicas_} * stages_; }

  int replicas_ = 0;
  int stages_ = 0;
};

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

Json metadata(std::int64_t pid, std::int64_t tid, const char* what, Json args) {
  return {{"ph", "M"}, {"pid", pid}, {"tid", tid}, {"name", what}, {"args", std::move(args)}};
}

void name_rows(const Trace& trace, const Rows& rows, const std::function<void(Json)>& sink) {
  std::set<std::pair<ReplicaId, StageId>> used;
  for (const TraceEvent& event : trace.events) used.emplace(event.replica, event.stage);
  for (const TransferEvent& transfer : trace.transfers) {
    used.emplace(transfer.replica, transfer.from);
  }
  for (const MemorySample& sample : trace.memory) used.emplace(sample.replica, sample.stage);
  constexpr const char* kNames[kLanes] = {"", " sends down", " sends up"};
  for (const auto& [replica, stage] : used) {
    const std::int64_t pid = rows.process(replica, stage);
    const std::string name = "stage " + std::to_string(stage.value());
    const auto of_process = [&](const char* what, Json args) {
      sink(metadata(pid, rows.thread(replica, stage, 0), what, std::move(args)));
    };
    of_process("process_name",
               {{"name", "replica " + std::to_string(replica.value()) + ", " + name}});
    of_process("process_sort_index", {{"sort_index", pid}});
    for (int lane = 0; lane < kLanes; ++lane) {
      const std::int64_t tid = rows.thread(replica, stage, lane);
      sink(metadata(pid, tid, "thread_name", {{"name", name + kNames[lane]}}));
      sink(metadata(pid, tid, "thread_sort_index", {{"sort_index", tid}}));
    }
  }
}

// A block without `args`, on whole nanoseconds.
Json block(std::int64_t pid, std::int64_t tid, std::int64_t begin, std::int64_t end,
           std::string name, const char* category) {
  return {{"ph", "X"},
          {"pid", pid},
          {"tid", tid},
          {"ts", microseconds(begin)},
          {"dur", microseconds(end - begin)},
          {"name", std::move(name)},
          {"cat", category}};
}

void write_event(const TraceEvent& event, const Rows& rows, const Plan* plan,
                 const std::function<void(Json)>& sink) {
  const std::int64_t pid = rows.process(event.replica, event.stage);
  const std::int64_t tid = rows.thread(event.replica, event.stage, 0);
  const std::int64_t begin = nanoseconds(event.begin);
  const std::int64_t end = nanoseconds(event.end);
  Json record =
      block(pid, tid, begin, end, to_string(event.instruction), category(event.instruction.op));
  Json& args = record["args"];
  args = {{"replica", event.replica.value()},
          {"stage", event.stage.value()},
          {"ready_us", microseconds(event.ready)},
          {"recompute_us", microseconds(event.recompute)}};
  if (event.exchange > 0.0) args["exchange_us"] = microseconds(event.exchange);
  if (const Chunk* chunk = find_chunk(plan, event.replica, event.instruction)) {
    args["kind"] = to_string(chunk->kind);
    args["tokens"] = chunk->tokens();
    args["context"] = chunk->context();
    args["slices"] = chunk->slices.size();
    if (chunk->degree > 0) args["degree"] = chunk->degree;
  }
  sink(std::move(record));
  if (event.recompute > 0.0) {  // a block within the block
    const std::int64_t recomputed = std::min(end, nanoseconds(event.begin + event.recompute));
    sink(block(pid, tid, begin, recomputed, "recompute", "recompute"));
  }
}

void write_transfer(const TransferEvent& transfer, const Rows& rows,
                    const std::function<void(Json)>& sink) {
  const int lane = transfer.to > transfer.from ? 1 : 2;
  Json record =
      block(rows.process(transfer.replica, transfer.from),
            rows.thread(transfer.replica, transfer.from, lane), nanoseconds(transfer.begin),
            nanoseconds(transfer.end), to_string(transfer.producer), "transfer");
  record["args"] = {{"replica", transfer.replica.value()},
                    {"from", transfer.from.value()},
                    {"to", transfer.to.value()},
                    {"bytes", transfer.bytes}};
  sink(std::move(record));
}

void write_memory(const Trace& trace, const Rows& rows, const std::function<void(Json)>& sink) {
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
    // The format has no field for a counter's unit: its name says it.
    sink({{"ph", "C"},
          {"pid", rows.process(sample.replica, sample.stage)},
          {"tid", rows.thread(sample.replica, sample.stage, 0)},
          {"ts", microseconds(sample.at)},
          {"name", "memory of stage " + std::to_string(sample.stage.value()) + " in bytes:"},
          {"cat", "memory"},
          {"args", std::move(args)}});
  }
}

void for_each_record(const Trace& trace, const Plan* plan, const std::function<void(Json)>& sink) {
  const Rows rows(trace);
  name_rows(trace, rows, sink);
  for (const TraceEvent& event : trace.events) write_event(event, rows, plan, sink);
  for (const TransferEvent& transfer : trace.transfers) write_transfer(transfer, rows, sink);
  write_memory(trace, rows, sink);
}

Json other_data(const Trace& trace) {
  const Rows rows(trace);
  return {{"format", kFormat},        {"version", 2},
          {"source", trace.source},   {"step", trace.step},
          {"seconds", trace.seconds}, {"replicas", rows.replicas()},
          {"stages", rows.stages()}};
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

// Replica and stage of a record.
using Place = std::function<std::pair<ReplicaId, StageId>(const JsonView& record)>;

// Version 1 had a process for each replica and a thread for each lane, both counted from 0.
std::pair<ReplicaId, StageId> place_of_version_1(const JsonView& record) {
  return {ReplicaId(record.at("pid").integer(0, kMostStages)),
          StageId(record.at("tid").integer(0, kMostStages * kLanes) / kLanes)};
}

Seconds read_time(const JsonView& record, std::string_view key) {
  return record.at(key).number() / kMicroseconds;
}

void read_event(const JsonView& record, const Place& place, Trace& trace) {
  const JsonView args = record.at("args");
  TraceEvent event;
  std::tie(event.replica, event.stage) = place(record);
  event.instruction = read_instruction(record.at("name"));
  event.begin = read_time(record, "ts");
  event.end = event.begin + record.at("dur").number(0.0) / kMicroseconds;
  event.ready = args.number_or("ready_us", event.begin * kMicroseconds) / kMicroseconds;
  event.recompute = args.number_or("recompute_us", 0.0) / kMicroseconds;
  event.exchange = args.number_or("exchange_us", 0.0) / kMicroseconds;
  trace.events.push_back(event);
}

void read_transfer(const JsonView& record, const Place& place, Trace& trace) {
  const JsonView args = record.at("args");
  TransferEvent transfer;
  transfer.replica = place(record).first;
  transfer.from = StageId(args.at("from").integer(0, kMostStages));
  transfer.to = StageId(args.at("to").integer(0, kMostStages));
  transfer.producer = read_instruction(record.at("name"));
  transfer.begin = read_time(record, "ts");
  transfer.end = transfer.begin + record.at("dur").number(0.0) / kMicroseconds;
  transfer.bytes = args.number_or("bytes", 0.0);
  trace.transfers.push_back(transfer);
}

void read_sample(const JsonView& record, const Place& place, Trace& trace) {
  const JsonView args = record.at("args");
  MemorySample sample;
  std::tie(sample.replica, sample.stage) = place(record);
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
  Place place = place_of_version_1;
  if (check_format(other, kFormat, 2) == 2) {
    const auto count = [&](const char* name) {
      return static_cast<int>(other.at(name).integer(0, kMostStages));
    };
    place = [rows = Rows(count("replicas"), count("stages"))](const JsonView& record) {
      return rows.place(record);
    };
  }
  Trace trace;
  trace.source = other.at("source").string();
  trace.step = static_cast<int>(other.integer_or("step", 0));
  trace.seconds = other.at("seconds").number(0.0);
  root.at("traceEvents").for_each([&](const JsonView& record) {
    if (!record.json().is_object()) record.fail("an object");
    const std::string category = record.string_or("cat", "");
    if (category == "transfer") {
      read_transfer(record, place, trace);
    } else if (category == "memory") {
      read_sample(record, place, trace);
    } else if (category == "forward" || category == "backward" || category == "input_gradient" ||
               category == "weight_gradient") {
      read_event(record, place, trace);
    }
  });
  return trace;
}

Trace read_trace(const std::string& path) { return trace_from_json(read_json_file(path), path); }

}  // namespace infinipipe
