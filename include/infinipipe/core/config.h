// Everything a run can be told, by TOML section; every key is also a command-line flag.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "infinipipe/base/units.h"
#include "infinipipe/core/communicator_kind.h"
#include "infinipipe/core/device.h"
#include "infinipipe/core/dtype.h"
#include "infinipipe/core/long_documents.h"
#include "infinipipe/core/lr_schedule.h"
#include "infinipipe/core/model_spec.h"
#include "infinipipe/core/passes.h"

namespace infinipipe {

// A data set that training draws from.
struct WeightedData {
  std::string path;     // prefix of PREFIX.bin and PREFIX.idx
  double weight = 1.0;  // against those of the others: its share of the sequences that are drawn

  bool operator==(const WeightedData&) const = default;
};

struct DataConfig {
  // A prefix, or several with weights: "data/code:0.7,data/books:0.3", or Megatron's
  // "0.7 data/code 0.3 data/books".
  std::string path;
  std::string tokenizer = "byte";  // "byte", or a path: a tokenizer.json, a SentencePiece model
  Tokens max_sequence_length = 16384;
  LongDocuments long_documents = LongDocuments::kCut;

  // What `path` names; none where it is empty. Throws InputError("data.path", ...) for a list that
  // makes no sense.
  std::vector<WeightedData> sets() const;
};

struct TrainingConfig {
  int steps = 100;
  int sequences_per_step = 8;
  Tokens tokens_per_step = 0;  // 0: batches of sequences_per_step; else that does not count
  std::int64_t seed = 1;
  Dtype dtype = Dtype::kFloat32;
  double max_minutes = 0.0;   // 0: no limit; else stops cleanly after so long
  int max_skipped_steps = 5;  // in a row, before the run has failed; 0: no limit
  bool check_finite = false;  // name the first tensor that is not finite
  // Only weights whose name has one of these as a part of it ("q_proj", "model.layers.3") are
  // trained, the others stay as they are; empty: all are.
  std::vector<std::string> only;
};

struct OptimizerConfig {
  double lr = 3e-3;
  LrSchedule lr_schedule = LrSchedule::kCosine;
  double min_lr_ratio = 0.1;  // the rate ends at lr x this
  int warmup_steps = 10;
  int decay_steps = 0;      // where the rate has come down; 0: training.steps
  int wsd_decay_steps = 0;  // wsd: how long it takes to come down; 0: a fifth of the steps
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;    // on matrices, not on norms
  double clip_grad_norm = 1.0;  // 0: none
};

struct ParallelismConfig {
  int stages = 1;
  int sequence_parallel = 1;
  int data_parallel = 1;
  std::optional<std::vector<int>> layers_per_stage;  // empty: "auto"
};

struct MemoryConfig {
  double bytes_per_stage = 0.0;  // 0: the profile's device memory
};

// Of the planner's table (planner/planners.h): what plans unless the user says
// otherwise.
inline constexpr const char* kDefaultPlanner = "epp";

struct PlannerConfig {
  std::string name = kDefaultPlanner;
  std::optional<int> slices;           // K; empty: "auto"
  std::optional<Tokens> chunk_tokens;  // capacity; empty: "auto"
  // Of recomputed layers: "input", "attention" (its output too) or "auto": what is fastest for epp,
  // "input" for others.
  std::string recompute_keeps = "auto";
  // "whole": all devices of a sequence-parallel group share every chunk. "auto": the elastic
  // planner may give chunks of whole sequences to sub-groups of them (Chunk::degree).
  std::string degree = "whole";
  PassSet passes;  // of the elastic planner; "planner.disable" names those that must not run

  bool sub_groups() const { return degree == "auto"; }
  double solver_gap = 0.02;
  int solver_nodes = 200;
  double solver_seconds = 10.0;  // emergency stop
  int ahead = 2;
  // Whether measured steps change decisions, so that plans depend on the clock; predicted times
  // follow the machine's pace anyway.
  bool recalibrate = false;
};

struct ClusterConfig {
  std::string profile;  // path of a profile.json, or "estimate"; empty: this machine's
  int devices = 0;      // 0: stages x sequence_parallel x data_parallel
  int devices_per_node = 8;
};

struct RuntimeConfig {
  Device device = Device::kCpu;
  CommunicatorKind communicator = CommunicatorKind::kAuto;
  int threads_per_stage = 1;
  bool pooled_allocator = true;
  bool direct_copies = true;  // processes of one host write into each other's memory if they may
  double stalled_after_seconds = 900.0;  // an instruction that takes longer ends the run; 0: never
  // A process of several that is silent for so long ends the run.
  double lost_after_seconds = 15.0;
};

struct CheckpointConfig {
  std::string path;  // empty: none
  int every = 0;     // steps; 0: only at the end
  int keep = 2;
};

struct MetricsConfig {
  std::string path;      // of metrics.jsonl; empty: none
  std::string run_name;  // in each line; empty: the run's id
};

// Of the data set that training is judged by while it runs.
struct EvalConfig {
  std::string data;            // prefix of its .bin and .idx; empty: none
  int every = 0;               // steps; 0: only at the end
  std::int64_t sequences = 0;  // documents, or parts of split ones, from the first; 0: all
};

struct TrainConfig {
  ModelSpec model;
  std::string model_preset;  // applied before the other model keys
  std::string model_from;    // the folder whose weights training begins with; applied as early
  ModelSpec model_before;    // as preset or folder have it, before the other model keys
  DataConfig data;
  TrainingConfig training;
  OptimizerConfig optimizer;
  ParallelismConfig parallelism;
  MemoryConfig memory;
  PlannerConfig planner;
  ClusterConfig cluster;
  RuntimeConfig runtime;
  CheckpointConfig checkpoint;
  MetricsConfig metrics;
  EvalConfig eval;

  // Says of the model what follows from its preset or folder and the keys that changed it
  // (ModelSpec::settle_context). Calling it again changes nothing.
  void settle() {
    model.settle_context(model_before);
    model.settle_family();
  }

  // Values that no key allows alone or together. Throws InputError("config: section.key", ...).
  void check() const;
};

// What a key's value is in a TOML file; on the command line all are text.
enum class ConfigType {
  kText,
  kInteger,
  kNumber,  // TOML float or integer
  kBoolean,
  kIntegerOrAuto,   // 4 or "auto"
  kIntegersOrAuto,  // [3, 5] or "auto"
  kNames,           // ["keep more", "packing"]
  kDataSets,        // "prefix", ["prefix", ...] or [{path = "prefix", weight = 0.7}, ...]
};

// One key: "training.steps". Values travel as text: `20`, `0.1`, `true`, `auto`, `3,5`, `path`.
struct ConfigKey {
  std::string name;
  std::string help;
  ConfigType type;
  std::function<std::string(const TrainConfig&)> get;
  // Throws InputError("training.steps", found, expected) for text that is not of the type; whether
  // the value makes sense is check()'s part.
  std::function<void(TrainConfig&, const std::string&)> set;
  std::string also;          // another name that is understood; empty: none
  bool whole_model = false;  // replaces the whole model: must be set before its other keys

  bool is_called(std::string_view other) const { return other == name || other == also; }
  // "model.rope" of "model.rope.type", and "model".
  std::string section() const { return name.substr(0, name.rfind('.')); }
  std::string main_section() const { return name.substr(0, name.find('.')); }
};

// All keys, in the order of the sections above.
const std::vector<ConfigKey>& config_keys();

// Sets one key. An unknown name is an InputError that names the nearest known one:
// `where: training.stepz: unknown key, did you mean training.steps?`. `where` may be empty.
void set_config(TrainConfig& config, std::string_view key, const std::string& value,
                std::string_view where);

// Sets keys in the order given, but first those that replace the whole model: the preset, then the
// folder.
using ConfigValues = std::vector<std::pair<std::string, std::string>>;  // key, text
void set_configs(TrainConfig& config, const ConfigValues& values, std::string_view where);

// Throws the InputError of set_config() for a key that is not there.
[[noreturn]] void refuse_key(std::string_view key, std::string_view where);

// The key of that name; null: there is none.
const ConfigKey* find_config_key(std::string_view name);

// Reads a TOML file over the defaults (or over `base`). Unknown sections and keys are errors;
// model.preset and model.from apply before the other model keys wherever they stand. Does not call
// check() or settle().
TrainConfig read_config(const std::string& path, TrainConfig base = {});
TrainConfig config_from_toml(std::string_view text, const std::string& where,
                             TrainConfig base = {});
// Complete TOML text of a configuration; read_config of it gives the same.
std::string config_to_toml(const TrainConfig& config);

}  // namespace infinipipe
