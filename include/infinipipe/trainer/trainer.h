// Training, evaluation and generation as library calls; the command line only fills the structs.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "infinipipe/base/units.h"
#include "infinipipe/core/config.h"

namespace infinipipe {

// What one step did: the object that becomes a line of metrics.jsonl (contract of its fields:
// docs/training.md).
struct StepMetrics {
  int step = 0;
  double loss = 0.0;  // mean over the batch's target tokens, natural log
  double grad_norm = 0.0;
  double lr = 0.0;
  Tokens tokens = 0;
  int sequences = 0;
  Seconds seconds = 0.0;
  double tokens_per_second = 0.0;
  double flops_per_second = 0.0;
  double mfu = 0.0;  // of the matmul speed measured on this machine at the start
  double bubble_predicted = 0.0;
  double bubble_measured = 0.0;
  Seconds seconds_predicted = 0.0;
  std::vector<Bytes> peak_bytes;  // per stage
  std::vector<Bytes> peak_bytes_predicted;
  Seconds plan_seconds = 0.0;       // planner's own time
  Seconds plan_wait_seconds = 0.0;  // training stood still for the plan; 0: it was there
  Seconds plan_cpu_seconds = 0.0;   // processor time of making it
  std::string planner;
  int slices = 0;
  int pipelines = 0;
  int chunks = 0;
  std::int64_t recomputed_layers = 0;      // sum over chunks and stages
  ByRemadeLevel<std::int64_t> recomputed_by_level{};  // of these, by what they keep
  bool skipped = false;  // the update was left out: no targets, or a norm that is not finite
  int truncated_sequences = 0;
  Tokens truncated_tokens = 0;
  std::string plan_hash;
};

// One line of JSON without the line break.
std::string metrics_json(const StepMetrics& metrics);
// The line for people: "step   12  loss 3.2145  grad 0.812  lr 9.8e-03  14,210 tok/s  mfu 61% ...".
std::string step_line(const StepMetrics& metrics);

struct TrainOptions {
  TrainConfig config;
  bool resume = false;    // go on from config.checkpoint.path's latest checkpoint
  std::string plan_dir;   // keep each step's plan.json here; empty: no
  std::string trace_dir;  // keep each step's measured trace here; empty: no
  // Messages for people, one line each; and one call a step.
  std::function<void(const std::string&)> log = [](const std::string&) {};
  std::function<void(const StepMetrics&)> on_step = [](const StepMetrics&) {};
  // Set from a signal handler: training ends after the step in flight, with a checkpoint if one is
  // configured.
  const std::atomic<bool>* stop = nullptr;
};

struct TrainResult {
  int steps_done = 0;  // of this run
  int next_step = 0;
  double first_loss = 0.0;  // of steps that were not skipped
  double last_loss = 0.0;
  int skipped = 0;
  Seconds plan_cpu_seconds = 0.0;   // processor time of planning, all steps
  Seconds cpu_seconds = 0.0;        // of the whole process while it trained
  Seconds plan_wait_seconds = 0.0;  // stood still for plans after the first step
  std::string checkpoint;           // folder of the last one written; empty: none
  bool stopped = false;             // by `stop` or the time limit
};

// Throws InputError for a configuration or data that cannot be trained on, RunError for a run that
// failed. metrics.jsonl is appended to on resume (lines of steps at or after the resumed one are
// dropped first), else replaced.
TrainResult train(const TrainOptions& options);

struct EvalResult {
  double loss = 0.0;
  double perplexity = 0.0;
  double targets = 0.0;
  Tokens tokens = 0;
  std::int64_t sequences = 0;
  Seconds seconds = 0.0;
};

// Changes a checkpoint's configuration before anything runs: device, threads, planner, data limits.
// The model is the checkpoint's; another one is refused when its tensors are loaded.
using Configure = std::function<TrainConfig(TrainConfig)>;

struct EvalOptions {
  std::string checkpoint;      // a checkpoint folder, or a folder of them
  std::string data;            // dataset prefix; empty: the checkpoint's own
  std::int64_t sequences = 0;  // documents from the first; 0: all
  std::optional<int> stages;   // default: the checkpoint's
  Configure configure;         // may be empty
  std::function<void(const std::string&)> log = [](const std::string&) {};
};

// Loss and perplexity over whole documents (cut at max_sequence_length), with evaluation plans.
// Documents without a token are left out.
EvalResult evaluate(const EvalOptions& options);

struct GenerateOptions {
  std::string checkpoint;
  std::string prompt;
  int tokens = 200;
  double temperature = 0.8;  // 0: the likeliest token
  double top_p = 0.95;
  std::int64_t seed = 1;
  Configure configure;                                                          // may be empty
  std::function<void(const std::string&)> on_text = [](const std::string&) {};  // piece by piece
};

// The prompt's continuation; ends early at an end of document.
std::string generate(const GenerateOptions& options);

}  // namespace infinipipe
