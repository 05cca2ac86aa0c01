// Training, evaluation and generation as library calls; the command line only fills the structs.
#pragma once

#include <atomic>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "infinipipe/base/units.h"
#include "infinipipe/core/config.h"
#include "infinipipe/core/keeping.h"
#include "infinipipe/core/needle_losses.h"
#include "infinipipe/core/position_loss.h"

namespace infinipipe {

// Processes that share the work (src/dist/ranks.h): this one drives them. Null: it is alone.
class Ranks;

// Why a step was skipped.
inline constexpr const char* kNoTargets = "no targets";
inline constexpr const char* kNotFinite = "not finite";

// What one step did: the object that becomes a line of metrics.jsonl (contract of its fields:
// docs/training.md).
struct StepMetrics {
  int step = 0;
  double time = 0.0;   // when the step was done: seconds since 1970
  std::string run;     // metrics.run_name, or the id
  std::string run_id;  // the same over all resumes
  double loss = 0.0;   // mean over the batch's target tokens, natural log; NaN where it has none
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
  // Per stage, of its GPU: what the allocator had taken after the step. Empty on the processor.
  std::vector<Bytes> reserved_bytes;
  Seconds plan_seconds = 0.0;       // planner's own time
  Seconds plan_wait_seconds = 0.0;  // training stood still for the plan; 0: it was there
  Seconds plan_cpu_seconds = 0.0;   // processor time of making it
  std::string planner;
  int slices = 0;
  int pipelines = 0;
  int chunks = 0;
  std::int64_t recomputed_layers = 0;                 // sum over chunks and stages
  ByRemadeLevel<std::int64_t> recomputed_by_level{};  // of these, by what they keep
  bool skipped = false;                               // the update was left out
  std::string skipped_because;  // kNoTargets: no work was done; kNotFinite: the loss or the norm
  double targets = 0.0;         // tokens whose prediction counts in the loss
  int truncated_sequences = 0;
  Tokens truncated_tokens = 0;
  int split_sequences = 0;             // parts of longer documents
  std::int64_t dropped_documents = 0;  // of all sets, never drawn: the same in each step
  std::vector<double> epochs;          // how often each set was gone through, with this step
  std::string plan_hash;
  // Of the whole run so far, over all its processes.
  Tokens tokens_total = 0;
  Seconds seconds_total = 0.0;  // of the steps that count, each once
  int steps_repeated = 0;       // done again since a process died
  Seconds seconds_lost = 0.0;   // what they had taken the first time
  double goodput = 1.0;         // seconds_total over both
  // Of eval.data, after the step's update; NaN where training was not judged then.
  double eval_loss = std::numeric_limits<double>::quiet_NaN();
  double eval_targets = std::numeric_limits<double>::quiet_NaN();
  Seconds eval_seconds =
      std::numeric_limits<double>::quiet_NaN();  // that it took, beside `seconds`
};

// One line of JSON without the line break.
std::string metrics_json(const StepMetrics& metrics);
// The line for people: "step   12  loss 3.2145  grad 0.812  lr 9.8e-03  14,210 tok/s  mfu 61% ...".
std::string step_line(const StepMetrics& metrics);
// What follows it where training was judged: "eval   12  loss 2.1034  perplexity 8.2 ...".
std::string eval_line(const StepMetrics& metrics);

// Changes a configuration before anything runs, as flags do: device, threads, planner, limits.
using Configure = std::function<TrainConfig(TrainConfig)>;

struct TrainOptions {
  TrainConfig config;
  // Go on from config.checkpoint.path's latest checkpoint; where there is none, start.
  bool resume = false;
  // Makes a resumed run's configuration from that of its checkpoint; empty: `config` is it.
  Configure configure;
  bool overwrite = false;  // start afresh in a folder that holds another run's checkpoints
  std::string plan_dir;    // keep each step's plan.json here; empty: no
  std::string trace_dir;   // keep each step's measured trace here; empty: no
  Ranks* ranks = nullptr;
  // A launcher has started this run again after a failure: it goes on from its checkpoint where it
  // has one, also with `overwrite`, which then only holds for other runs' checkpoints.
  bool restarted = false;
  std::string run_id;  // of the run where it begins here; empty: a random one
  // Messages for people, one line each; what must be heard, whatever else is not; and one call a
  // step.
  std::function<void(const std::string&)> log = [](const std::string&) {};
  std::function<void(const std::string&)> warn = [](const std::string&) {};
  std::function<void(const StepMetrics&)> on_step = [](const StepMetrics&) {};
  // Set from a signal handler: training ends after the step in flight, with a checkpoint if one is
  // configured.
  const std::atomic<bool>* stop = nullptr;
  // Called on a thread of its own when an instruction has run for runtime.stalled_after_seconds;
  // must end the process, which cannot go on. Empty: nobody watches.
  std::function<void(const std::string&)> on_stalled;
  // Called on a stage's thread before each instruction, "F0.3"; what it throws fails the step.
  std::function<void(int step, int stage, const std::string& instruction)> before_instruction;
};

struct TrainResult {
  int steps_done = 0;  // of this process
  int next_step = 0;
  int steps = 0;            // of the whole run
  double first_loss = 0.0;  // of steps that were not skipped
  double last_loss = 0.0;
  int skipped = 0;
  int skipped_at_end = 0;           // in a row, for a loss or norm that is not finite
  Seconds plan_cpu_seconds = 0.0;   // processor time of planning, all steps
  Seconds cpu_seconds = 0.0;        // of the whole process while it trained
  Seconds plan_wait_seconds = 0.0;  // stood still for plans after the first step
  std::string checkpoint;           // folder of the last one written; empty: none
  bool stopped = false;             // by `stop` or the time limit
  int steps_repeated = 0;           // of the whole run, as in StepMetrics
  Seconds seconds_lost = 0.0;
  double goodput = 1.0;
};

// Throws InputError for a configuration or data that cannot be trained on, which is said before the
// first step as far as it can be known, and RunError for a run that failed: also for one that comes
// to its last step without one that went well. Whatever ends a run,
// what was trained is saved first where that is whole and checkpoint.path is set; the message names
// the step. metrics.jsonl: see metrics_file.h.
TrainResult train(const TrainOptions& options);

struct EvalResult {
  std::string checkpoint;  // the step's folder that was loaded
  int next_step = 0;       // and its step
  double loss = 0.0;
  double perplexity = 0.0;
  double targets = 0.0;
  Tokens tokens = 0;
  std::int64_t sequences = 0;
  Seconds seconds = 0.0;
  std::vector<PositionLoss> by_position;  // [0, 1), [1, 2), [2, 4), [4, 8), ...; those with targets
  std::optional<NeedleLosses> needle;
};

struct EvalOptions {
  std::string checkpoint;      // a checkpoint folder, or a folder of them
  std::string data;            // dataset prefix; empty: the checkpoint's own
  std::int64_t sequences = 0;  // documents from the first, or parts of split ones; 0: all
  std::optional<int> stages;   // default: the checkpoint's; of several processes one each
  Ranks* ranks = nullptr;
  // Where every document's logits are written too, as safetensors: "logits.7" [tokens, vocab]
  // of document 7, float64 for float64, else float32, and "tokens.7" int64; empty: nowhere. Each
  // document runs as one chunk.
  std::string logits;
  // The passkey test beside it: so many lengths and depths, and numbers for each; 0: none.
  int needle_grid = 0;
  int needle_trials = 1;
  // Of the checkpoint's configuration; may be empty. The model is the checkpoint's; another one is
  // refused when its tensors are loaded.
  Configure configure;
  std::function<void(const std::string&)> log = [](const std::string&) {};
  std::function<void(const std::string&)> loaded = [](const std::string&) {};  // says what was
  std::function<void(const std::string&)> warn = [](const std::string&) {};
};

// Loss and perplexity over documents, as data.long_documents has those that are longer than
// data.max_sequence_length, with evaluation plans. Documents without a token are left out.
EvalResult evaluate(const EvalOptions& options);

struct ImportOptions {
  std::string folder;  // Hugging Face's, or a checkpoint
  std::string out;     // the folder of checkpoints that is made
  // Of the configuration that the checkpoint names; may be empty. Of the model only what no tensor
  // hangs on may be changed: its RoPE, above all.
  Configure configure;
  std::function<void(const std::string&)> log = [](const std::string&) {};  // progress
  std::function<void(const std::string&)> warn = [](const std::string&) {};
  const std::atomic<bool>* stop = nullptr;  // as for train(); Stopped is thrown
};

struct ImportResult {
  std::string checkpoint;  // the step's folder
  ModelSpec model;
  std::string dtype;    // of the weights: "bfloat16"
  std::string changes;  // of the model, by the configuration: "rope.factor 1 -> 8"; may be empty
};

// Makes step 0 of a model from its folder: weights as they are, no moments. Memory is bounded by a
// piece of a tensor; nothing half-written is left. Throws InputError for what is no model here.
ImportResult import_model(const ImportOptions& options);

struct ExportOptions {
  std::string checkpoint;        // a checkpoint folder, or a folder of them
  std::string out;               // new or empty
  std::string dtype;             // empty: what the model was imported in, else training.dtype
  Bytes max_shard_bytes = 5e10;  // of a file of weights
  std::function<void(const std::string&)> log = [](const std::string&) {};
  std::function<void(const std::string&)> warn = [](const std::string&) {};
  const std::atomic<bool>* stop = nullptr;
};

struct ExportResult {
  std::string checkpoint;
  int next_step = 0;
  std::string dtype;
  int files = 0;               // of weights
  bool has_tokenizer = false;  // files of one went along
  std::string tokenizer;       // what the model was trained with: data.tokenizer
};

// Writes a folder that transformers opens. As bounded and as whole as import_model().
ExportResult export_model(const ExportOptions& options);

struct GenerateOptions {
  std::string checkpoint;
  std::string prompt;
  int tokens = 200;
  double temperature = 0.8;  // 0: the likeliest token
  double top_p = 0.95;
  std::int64_t seed = 1;
  Ranks* ranks = nullptr;                                                       // a stage for each
  Configure configure;                                                          // as for evaluate()
  std::function<void(const std::string&)> on_text = [](const std::string&) {};  // piece by piece
  std::function<void(const std::string&)> loaded = [](const std::string&) {};   // says what was
  std::function<void(const std::string&)> warn = [](const std::string&) {};
};

// The prompt's continuation; ends early at an end of document.
std::string generate(const GenerateOptions& options);

}  // namespace infinipipe
