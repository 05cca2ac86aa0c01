#include "infinipipe/core/plan_json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "core/limits.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr std::int64_t kMaxInt = std::numeric_limits<int>::max();
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 40;

// Whole numbers without a point, so that 200000000 stays 200000000.
Json number_json(double value) {
  if (value == std::floor(value) && std::abs(value) < 0x1.0p53) {
    return static_cast<std::int64_t>(value);
  }
  return value;
}

// --- reading -------------------------------------------------------------------------------------

int read_int(const JsonView& value, int low = 0, std::int64_t high = kMaxInt) {
  return static_cast<int>(value.integer(low, high));
}

int int_or(const JsonView& parent, std::string_view key, int fallback, int low = 0,
           std::int64_t high = kMaxInt) {
  return parent.has(key) ? read_int(parent.at(key), low, high) : fallback;
}

Parallelism read_parallelism(const JsonView& value) {
  Parallelism parallelism;
  parallelism.stages = read_int(value.at("stages"), 1, kMostStages);
  parallelism.sequence_parallel = int_or(value, "sequence_parallel", 1, 1, kMostSequenceParallel);
  parallelism.data_parallel = int_or(value, "data_parallel", 1, 1, kMostReplicas);
  const std::int64_t devices =
      std::int64_t{parallelism.stages} * parallelism.sequence_parallel * parallelism.data_parallel;
  if (devices > kMostDevices) {
    value.fail(std::to_string(devices) + " devices in all",
               "at most " + std::to_string(kMostDevices));
  }
  return parallelism;
}

ChunkKind read_kind(const JsonView& value) {
  const std::string name = value.string();
  for (const ChunkKind kind : {ChunkKind::kSplit, ChunkKind::kHybrid, ChunkKind::kBatched}) {
    if (name == to_string(kind)) return kind;
  }
  value.fail("\"split\", \"hybrid\" or \"batched\"");
}

Instruction read_instruction(const JsonView& value) {
  const std::string text = value.string();
  constexpr std::string_view kExpected = "F, B, I or W, then pipeline.chunk, like \"F0.3\"";
  Instruction instruction;
  bool known = false;
  for (const Op op : {Op::kForward, Op::kBackward, Op::kInputGrad, Op::kWeightGrad}) {
    if (text.empty() || text[0] != op_letter(op)) continue;
    instruction.op = op;
    known = true;
  }
  if (!known) value.fail(kExpected);
  int pipeline = -1;
  int chunk = -1;
  const char* const end = text.data() + text.size();
  const auto [dot, pipeline_error] = std::from_chars(text.data() + 1, end, pipeline);
  if (pipeline_error != std::errc() || dot == end || *dot != '.') value.fail(kExpected);
  const auto [last, chunk_error] = std::from_chars(dot + 1, end, chunk);
  if (chunk_error != std::errc() || last != end || pipeline < 0 || chunk < 0) {
    value.fail(kExpected);
  }
  instruction.pipeline = PipelineId(pipeline);
  instruction.chunk = ChunkId(chunk);
  return instruction;
}

// Layers of a stage: few enough that no sum of them overflows.
int read_layers(const JsonView& value) { return read_int(value, 0, kMostLayers); }

// "recompute" counts all layers that run again; the levels that have a field of their own are
// counted there, and the level without one has the rest.
std::vector<Keeping> read_keeping(const JsonView& value) {
  std::vector<Keeping> keeping;
  value.at("recompute").for_each([&](const JsonView& entry) {
    keeping.push_back(Keeping::of(Keep::kInput, read_layers(entry)));
  });
  for (const KeepLevel& level : kKeepLevels) {
    if (level.plan_field == nullptr || !value.has(level.plan_field)) continue;
    const JsonView counts = value.at(level.plan_field);
    std::size_t p = 0;
    counts.for_each([&](const JsonView& entry) {
      if (p == keeping.size()) counts.fail(std::to_string(p) + " counts, as \"recompute\" has");
      const int count = read_layers(entry);
      keeping[p][level.keep] = count;
      keeping[p][Keep::kInput] -= count;
      ++p;
    });
    if (p != keeping.size() && p != 0) {
      counts.fail(std::to_string(keeping.size()) + " counts, as \"recompute\" has");
    }
  }
  return keeping;
}

// Fields of a chunk that runs in sub-groups. The first is also what such a plan requires.
constexpr const char* kDegree = "degree";
constexpr const char* kGroups = "groups";

Chunk read_chunk(const JsonView& value) {
  Chunk chunk;
  chunk.kind = read_kind(value.at("kind"));
  value.at("slices").for_each([&](const JsonView& entry) {
    Slice slice;
    slice.sequence = SequenceId(read_int(entry.at("sequence")));
    slice.begin = entry.at("begin").integer(0, kMaxTokens);
    slice.end = entry.at("end").integer(0, kMaxTokens);
    chunk.slices.push_back(slice);
  });
  chunk.keeping = read_keeping(value);
  chunk.degree = int_or(value, kDegree, 0, 0, kMostSequenceParallel);
  if (value.has(kGroups)) {
    value.at(kGroups).for_each(
        [&](const JsonView& entry) { chunk.groups.push_back(read_int(entry)); });
  }
  if (value.has("context")) {
    const JsonView context = value.at("context");
    const bool starts = chunk.kind == ChunkKind::kBatched || chunk.slices.empty();
    const Tokens expected = starts ? 0 : chunk.slices[0].begin;
    if (context.integer(0, kMaxTokens) != expected) {
      context.fail(std::to_string(expected) + (chunk.kind == ChunkKind::kBatched
                                                   ? " (a batched chunk has no context)"
                                                   : " (where its first slice begins)"));
    }
  }
  return chunk;
}

Pipeline read_pipeline(const JsonView& value) {
  Pipeline pipeline;
  pipeline.warmup_slices = int_or(value, "warmup_slices", 1);
  value.at("chunks").for_each(
      [&](const JsonView& entry) { pipeline.chunks.push_back(read_chunk(entry)); });
  if (value.has("backward")) {
    value.at("backward").for_each([&](const JsonView& entry) {
      pipeline.backward.push_back(read_int(entry));
    });
  }
  return pipeline;
}

Replica read_replica(const JsonView& value) {
  Replica replica;
  value.at("pipelines").for_each([&](const JsonView& entry) {
    replica.pipelines.push_back(read_pipeline(entry));
  });
  value.at("instructions").for_each([&](const JsonView& list) {
    std::vector<Instruction>& stage = replica.instructions.emplace_back();
    list.for_each([&](const JsonView& entry) { stage.push_back(read_instruction(entry)); });
  });
  return replica;
}

PlannerReport read_planner(const JsonView& value) {
  PlannerReport report;
  report.name = value.string_or("name", "");
  report.slices = int_or(value, "slices", 1);
  report.schedule = value.string_or("schedule", kDefaultSchedule);
  report.seconds = value.number_or("seconds", 0.0);
  report.chunk_spread = value.number_or("chunk_spread", 0.0);
  report.spread_cause = value.string_or("spread_cause", "");
  if (value.has("solver")) {
    const JsonView solver = value.at("solver");
    report.solver.status = solver.string_or("status", "none");
    report.solver.gap = solver.number_or("gap", 0.0, -1e300);
    report.solver.seconds = solver.number_or("seconds", 0.0);
  }
  if (value.has("passes")) {
    value.at("passes").for_each([&](const JsonView& entry) {
      report.passes.push_back({entry.string_or("name", ""), entry.number_or("seconds", 0.0),
                               entry.number_or("gain", 0.0)});
    });
  }
  if (value.has("candidates")) {
    value.at("candidates").for_each([&](const JsonView& entry) {
      Candidate candidate;
      candidate.schedule = entry.string_or("schedule", "");
      candidate.slices = int_or(entry, "slices", 0);
      candidate.chunk_tokens = entry.integer_or("chunk_tokens", 0);
      candidate.pipelines = int_or(entry, "pipelines", 0);
      candidate.chunks = int_or(entry, "chunks", 0);
      candidate.seconds = entry.number_or("seconds", 0.0);
      candidate.note = entry.string_or("note", "");
      report.candidates.push_back(candidate);
    });
  }
  return report;
}

Prediction read_prediction(const JsonView& value) {
  Prediction prediction;
  prediction.seconds = value.at("seconds").number(0.0);
  prediction.lower_bound = value.number_or("lower_bound", 0.0);
  prediction.bubble = value.number_or("bubble", 0.0, -1e300);
  prediction.step_overhead = value.number_or("step_overhead", 0.0);
  if (value.has("stages")) {
    value.at("stages").for_each([&](const JsonView& entry) {
      StagePrediction stage;
      stage.compute = entry.number_or("compute", 0.0);
      stage.recompute = entry.number_or("recompute", 0.0);
      stage.wait = entry.number_or("wait", 0.0, -1e300);
      stage.peak_bytes = entry.number_or("peak_bytes", 0.0);
      prediction.stages.push_back(stage);
    });
  }
  return prediction;
}

// --- writing -------------------------------------------------------------------------------------

Json chunk_json(const Chunk& chunk) {
  Json slices = Json::array();
  for (const Slice& slice : chunk.slices) {
    slices.push_back(
        {{"sequence", slice.sequence.value()}, {"begin", slice.begin}, {"end", slice.end}});
  }
  Json json = {{"kind", to_string(chunk.kind)},
               {"context", chunk.slices.empty() ? 0 : chunk.context()},
               {"slices", slices},
               {"recompute", Json::array()}};
  for (const Keeping& keeping : chunk.keeping) json["recompute"].push_back(keeping.remade());
  for (const KeepLevel& level : kKeepLevels) {
    if (level.plan_field == nullptr) continue;
    Json counts = Json::array();
    bool any = false;
    for (const Keeping& keeping : chunk.keeping) {
      counts.push_back(keeping[level.keep]);
      any = any || keeping[level.keep] != 0;
    }
    if (any) json[level.plan_field] = std::move(counts);
  }
  if (chunk.degree > 0) {
    json[kDegree] = chunk.degree;
    json[kGroups] = chunk.groups;
  }
  return json;
}

Json replica_json(const Replica& replica) {
  Json pipelines = Json::array();
  for (const Pipeline& pipeline : replica.pipelines) {
    Json chunks = Json::array();
    for (const Chunk& chunk : pipeline.chunks) chunks.push_back(chunk_json(chunk));
    pipelines.push_back({{"warmup_slices", pipeline.warmup_slices},
                         {"chunks", std::move(chunks)},
                         {"backward", pipeline.backward}});
  }
  Json instructions = Json::array();
  for (const auto& list : replica.instructions) {
    Json stage = Json::array();
    for (const Instruction& instruction : list) stage.push_back(to_string(instruction));
    instructions.push_back(std::move(stage));
  }
  return {{"pipelines", std::move(pipelines)}, {"instructions", std::move(instructions)}};
}

constexpr const char* kWindow = "sliding_window";

// What a reader of version 1 would misread, by name.
Json required_json(const Plan& plan) {
  Json names = Json::array();
  const Plan::Recomputed recomputed = plan.recomputed();
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    if (kKeepLevels[i].needs_version_2 && recomputed.by_level[i] > 0) {
      names.push_back(kKeepLevels[i].plan_field);
    }
  }
  if (plan.sliding_window > 0) names.push_back(kWindow);
  if (plan.in_sub_groups()) names.push_back(kDegree);
  return names;
}

// Without what timing decides: the form that is hashed.
Json decided_json(const Plan& plan) {
  Json stages = Json::array();
  for (const LayerRange& range : plan.stages) {
    stages.push_back({{"layers", {range.begin, range.end}}});
  }
  Json replicas = Json::array();
  for (const Replica& replica : plan.replicas) replicas.push_back(replica_json(replica));
  const PlannerReport& planner = plan.planner;
  Json json = {
      {"format", "infinipipe.plan"},
      {"version", 1},
      {"planner",
       {{"name", planner.name},
        {"slices", planner.slices},
        {"schedule", planner.schedule},
        {"solver", {{"status", planner.solver.status}, {"gap", number_json(planner.solver.gap)}}}}},
      {"step", plan.step},
      {"sequences", plan.sequences},
      {"parallelism",
       {{"stages", plan.parallelism.stages},
        {"sequence_parallel", plan.parallelism.sequence_parallel},
        {"data_parallel", plan.parallelism.data_parallel}}},
      {"stages", std::move(stages)},
      {"replicas", std::move(replicas)},
      {"memory", {{"bytes_per_stage", number_json(plan.bytes_per_stage)}}},
      {"profile_hash", plan.profile_hash}};
  if (plan.sliding_window > 0) json[kWindow] = plan.sliding_window;
  if (Json required = required_json(plan); !required.empty()) {
    json["version"] = 2;
    json["requires"] = std::move(required);
  }
  return json;
}

Json prediction_json(const Prediction& prediction) {
  Json stages = Json::array();
  for (const StagePrediction& stage : prediction.stages) {
    stages.push_back({{"compute", number_json(stage.compute)},
                      {"recompute", number_json(stage.recompute)},
                      {"wait", number_json(stage.wait)},
                      {"peak_bytes", number_json(stage.peak_bytes)}});
  }
  return {{"seconds", number_json(prediction.seconds)},
          {"lower_bound", number_json(prediction.lower_bound)},
          {"bubble", number_json(prediction.bubble)},
          {"step_overhead", number_json(prediction.step_overhead)},
          {"stages", std::move(stages)}};
}

Json passes_json(const std::vector<PassReport>& passes) {
  Json list = Json::array();
  for (const PassReport& pass : passes) {
    list.push_back({{"name", pass.name},
                    {"seconds", number_json(pass.seconds)},
                    {"gain", number_json(pass.gain)}});
  }
  return list;
}

Json candidates_json(const std::vector<Candidate>& candidates) {
  Json list = Json::array();
  for (const Candidate& candidate : candidates) {
    list.push_back({{"schedule", candidate.schedule},
                    {"slices", candidate.slices},
                    {"chunk_tokens", candidate.chunk_tokens},
                    {"pipelines", candidate.pipelines},
                    {"chunks", candidate.chunks},
                    {"seconds", number_json(candidate.seconds)},
                    {"note", candidate.note}});
  }
  return list;
}

// Text with a space after colons and commas; the arrays and objects down to `depth` get a line per
// element.
void print(const Json& value, int depth, const std::string& indent, std::string& out) {
  if (!value.is_structured() || value.empty()) {
    out += value.dump();
    return;
  }
  const bool object = value.is_object();
  const bool lines = depth > 0;
  out += object ? '{' : '[';
  bool first = true;
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (!first) out += lines ? "," : ", ";
    if (lines) out += "\n" + indent + " ";
    first = false;
    if (object) out += Json(it.key()).dump() + ": ";
    print(*it, lines ? depth - 1 : 0, indent + " ", out);
  }
  if (lines) out += "\n" + indent;
  out += object ? '}' : ']';
}

// Levels that are broken into lines: enough below "replicas" to give every chunk and every stage's
// instruction list its own line.
int line_depth(const std::string& key) {
  if (key == "replicas") return 5;
  if (key == "predicted" || key == "planner") return 2;
  if (key == "stages") return 1;
  return 0;
}

}  // namespace

void check_plan_format(const Json& json, const std::string& where) {
  const JsonView document(json, where);
  const int version = check_format(document, "infinipipe.plan", 2);
  if (version == 1) return;
  document.at("requires").for_each([](const JsonView& entry) {
    const std::string name = entry.string();
    if (name == kWindow || name == kDegree) return;
    std::string known = std::string(kWindow) + ", " + kDegree;
    for (const KeepLevel& level : kKeepLevels) {
      if (!level.needs_version_2) continue;
      if (name == level.plan_field) return;
      known += ", " + std::string(level.plan_field);
    }
    entry.fail("\"" + name + "\"", "what this version knows: " + known, "use a newer infinipipe");
  });
}

Plan plan_from_json(const Json& json, const std::string& where, HashCheck hash_check) {
  const JsonView document(json, where);
  check_plan_format(json, where);
  Plan plan;
  if (document.has("planner")) plan.planner = read_planner(document.at("planner"));
  plan.step = int_or(document, "step", 0);
  if (const JsonView sequences = document.at("sequences");
      sequences.json().is_array() && sequences.size() > kMostSequences) {
    sequences.fail(std::to_string(sequences.size()) + " sequences",
                   "at most " + std::to_string(kMostSequences));
  }
  plan.sequences = document.at("sequences").integers(1, kMaxTokens);
  if (document.has(kWindow)) {
    plan.sliding_window = document.at(kWindow).integer(0, kMaxTokens);
  }
  plan.parallelism = read_parallelism(document.at("parallelism"));
  document.at("stages").for_each([&](const JsonView& entry) {
    const JsonView layers = entry.at("layers");
    if (layers.size() != 2) layers.fail("[first layer, one past the last]");
    plan.stages.push_back({read_layers(layers.at(0)), read_layers(layers.at(1))});
  });
  document.at("replicas").for_each([&](const JsonView& entry) {
    plan.replicas.push_back(read_replica(entry));
  });
  if (document.has("predicted")) plan.predicted = read_prediction(document.at("predicted"));
  if (document.has("memory")) {
    const JsonView memory = document.at("memory");
    if (memory.has("bytes_per_stage")) {
      plan.bytes_per_stage = memory.at("bytes_per_stage").number(0.0, kMostStageBytes);
    }
  }
  plan.profile_hash = document.string_or("profile_hash", "");
  if (document.has("stage_pace")) {
    const JsonView pace = document.at("stage_pace");
    pace.for_each(
        [&](const JsonView& value) { plan.stage_pace.push_back(value.number(1e-6, 1e6)); });
    if (plan.stage_pace.size() != plan.stages.size()) pace.fail("one number for each stage");
  }
  if (hash_check == HashCheck::kRequire && document.has("hash")) {
    const JsonView hash = document.at("hash");
    const std::string expected = plan_hash(plan);
    if (hash.string() != expected) {
      hash.fail("\"" + hash.string() + "\"", expected + " (the plan was changed after it was made)",
                "restore the file, or remove \"hash\" to accept the change");
    }
  }
  return plan;
}

Plan read_plan(const std::string& path, HashCheck hash_check) {
  return plan_from_json(read_json_file(path), path, hash_check);
}

Json plan_to_json(const Plan& plan) {
  Json json = decided_json(plan);
  json["hash"] = hash_json(json);
  json["planner"]["seconds"] = number_json(plan.planner.seconds);
  if (!plan.planner.passes.empty()) json["planner"]["passes"] = passes_json(plan.planner.passes);
  json["planner"]["solver"]["seconds"] = number_json(plan.planner.solver.seconds);
  if (!plan.planner.candidates.empty()) {
    json["planner"]["candidates"] = candidates_json(plan.planner.candidates);
  }
  if (plan.planner.chunk_spread > 0.0) {
    json["planner"]["chunk_spread"] = number_json(plan.planner.chunk_spread);
    json["planner"]["spread_cause"] = plan.planner.spread_cause;
  }
  if (plan.predicted) json["predicted"] = prediction_json(*plan.predicted);
  if (!plan.stage_pace.empty()) json["stage_pace"] = plan.stage_pace;
  return json;
}

void write_plan(const std::string& path, const Plan& plan) {
  const Json json = plan_to_json(plan);
  std::string text = "{";
  constexpr const char* kOrder[] = {"format", "version",      "requires",  "planner",
                                    "step",   "sequences",    kWindow,     "parallelism",
                                    "stages", "replicas",     "predicted", "stage_pace",
                                    "memory", "profile_hash", "hash"};
  bool first = true;
  for (const std::string key : kOrder) {
    if (!json.contains(key)) continue;
    text += first ? "\n " : ",\n ";
    first = false;
    text += Json(key).dump() + ": ";
    print(json[key], line_depth(key), " ", text);
  }
  text += "\n}\n";
  write_file(path, text);
}

std::string plan_hash(const Plan& plan) { return hash_json(decided_json(plan)); }

}  // namespace infinipipe
