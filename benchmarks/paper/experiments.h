// The paper's evaluation on simulated clusters: what is run, and what comes out, as plain values.
#pragma once

#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "baselines/systems.h"
#include "core/parallel_choice.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/plan.h"
#include "infinipipe/cost/profile.h"
#include "planner/planners.h"

namespace infinipipe::paper {

// The two planners that the page is about: ours, and the paper's method.
inline constexpr const char* kOurs = planner_name::kElastic;
inline constexpr const char* kPapers = planner_name::kPaper;
// What they are compared with, in the order of the tables' columns.
inline constexpr std::array kRivals = {system_name::kFlexsp,   system_name::kDeepspeed,
                                       system_name::kMegatron, planner_name::kFixedSlices,
                                       planner_name::kSlices,  planner_name::kMepipe,
                                       planner_name::kPacked,  planner_name::kGpipe};

struct Model {
  std::string name;  // "7B"
  int layers = 0;
  Profile profile;
};

// Small: one model, few settings, small batches; for continuous integration.
struct Scope {
  std::vector<Model> models;
  std::vector<std::string> corpora;
  std::vector<Tokens> caps;
  int batch = 512;
  int steps = 2;
  std::vector<int> batches;  // of the experiment over batch sizes
  std::vector<int> scales;   // devices of the scaling experiment
  int per_device = 16;       // sequences a device in it
  std::int64_t seed = 2509;
  int threads = 2;
};
Scope full_scope(const std::string& profiles);
Scope small_scope(const std::string& profiles);

// One system on all steps of one setting. Not ok: it could not hold some step, all else is 0.
struct Cell {
  std::string system;
  bool ok = false;
  std::string reason;
  int steps = 0;
  Seconds seconds = 0.0;  // sum over the steps
  double tokens_per_second = 0.0;
  double bubble = 0.0;  // mean over the steps, as the four below; shares of the step
  double recompute = 0.0;
  double all_to_all = 0.0;  // part of compute
  double gathers = 0.0;     // of ZeRO-3, as far as they are not hidden
  double compute = 0.0;     // without recompute, all_to_all and gathers
  double gap = 0.0;         // seconds over the system's own lower bound - 1
  Bytes peak_bytes = 0.0;
  Seconds plan_seconds = 0.0;  // mean; the only value that is not repeatable
  Json settings;               // of the first step

  Seconds mean_seconds() const { return steps > 0 ? seconds / steps : 0.0; }
};

struct Setting {
  std::string model;
  std::string corpus;
  Tokens cap = 0;
  int batch = 0;
  int devices = 32;
  Parallelism parallelism;
  int sampled = 0;  // sequences drawn at once and dealt to steps of `batch`; 0: `batch`
};

struct SettingResult {
  Setting setting;
  Tokens tokens = 0;          // of all steps
  Seconds lower_bound = 0.0;  // sum over the steps, for the setting's parallelism
  std::vector<Cell> cells;
  // Some of the systems once more where ZeRO-3's gathers are waited for instead of hidden behind
  // compute, and the bound of the same pipelines then.
  std::vector<Cell> waited;
  Seconds waited_bound = 0.0;
  ParallelChoice choice;  // of the elastic planner's own layout; empty: not asked

  const Cell* find(const std::string& system) const;  // null: absent or not ok
  const Cell* find_waited(const std::string& system) const;
};

// The elastic planner with one part switched off.
struct Ablation {
  std::string name;
  std::string planner;          // kOurs or kPapers
  std::vector<Pass> without;    // passes that are switched off
  bool blockwise_head = false;  // the loss and its gradient inside the forward, no logits kept
};
std::vector<Ablation> ablations();

struct Results {
  std::vector<SettingResult> throughput;  // by model, corpus, cap
  std::vector<SettingResult> batches;     // one model, the same sequences in steps of each size
  std::vector<SettingResult> ablation;    // cells named as ablations()
  std::vector<SettingResult> scaling;
};

// `progress`: a line for each finished setting, one call at a time. Deterministic but for
// plan_seconds, whatever the number of threads.
Results run_all(const Scope& scope, const std::function<void(const std::string&)>& progress);

// The same profile with the loss computed block by block inside the forward.
Profile with_blockwise_head(Profile profile);

// Everything but plan_seconds; those apart.
Json results_json(const Scope& scope, const Results& results);
Json timings_json(const Results& results);

}  // namespace infinipipe::paper
