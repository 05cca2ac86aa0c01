// Runs plans on real stages over the Communicator seam: threads of this process, or processes that
// this one drives.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "infinipipe/core/config.h"
#include "infinipipe/core/plan.h"
#include "infinipipe/core/trace.h"
#include "model/common/stage_model.h"
#include "runtime/batch.h"
#include "runtime/engine_options.h"
#include "runtime/local_ranks.h"
#include "runtime/process_job.h"
#include "runtime/stage_status.h"

namespace infinipipe {

struct StepResult {
  double loss = 0.0;  // weighted mean over the batch's targets, natural log
  double target_weight = 0.0;
  // Of an evaluation: weight x cross-entropy of each token's prediction, by sequence and position.
  std::vector<std::vector<double>> token_losses;
  Trace trace;  // measured, of each stage's first shard
  // Per stage, summed over its ranks: what shards gave in exchanges, their own parts too.
  std::vector<Bytes> exchanged_bytes;
  // Per stage, the largest over its ranks.
  std::vector<Bytes> peak_bytes;             // live tensor bytes at their peak
  std::vector<Bytes> peak_activation_bytes;  // the same less weights, gradients and optimizer
  std::vector<Bytes> largest_allocation;     // of one tensor
  // Of the stage's GPU: what its allocator had taken when the step ended, live or not; 0 on the
  // processor.
  std::vector<Bytes> reserved_bytes;
  std::vector<PartTimes>
      parts;  // per stage, summed over its ranks; zero unless Options::time_parts
  // With Options::check_finite: rank and layer of the first tensor that was not finite; empty:
  // none
  std::string not_finite;
};

class Engine final {
 public:
  using Options = EngineOptions;

  // Starts one thread per rank of this process, lets the other processes do the same, and makes the
  // weights.
  explicit Engine(const Options& options);
  ~Engine();

  const Options& options() const;

  // Forward and backward of a whole batch; gradients accumulate (call zero_grad first for a new
  // step). The plan must be valid and fit the engine's layout (require_valid is called). An
  // evaluation plan only fills loss. Throws RunError naming rank, instruction and step; the engine
  // can go on with another step after zero_grad. A failure in one of several processes ends all
  // (Ranks::fail).
  StepResult run(const Plan& plan, const Batch& batch);

  // Sums gradients over replicas and shards, clips by the global norm over all stages and applies
  // AdamW with the schedule's rate for `step` (0-based). Returns the gradient norm before clipping.
  // A norm that is not finite leaves weights and moments untouched. With several replicas or shards
  // zero_grad must come before the next run.
  struct Update {
    double grad_norm = 0.0;
    double lr = 0.0;
    bool skipped = false;
    std::string not_finite;  // skipped, with check_finite: the first such gradient, by stage
  };
  Update optimizer_step(int step);
  void zero_grad();

  // Does the job in every process at once; what each returns, this process's first. Throws the
  // first error of a process after all are done. Where `here` is given it is what this process does
  // instead.
  std::vector<Json> on_each_process(const ProcessJob& job, const Json& arguments,
                                    const std::function<Json(LocalRanks&)>& here = {});

  // What each rank of this process does now; for any thread.
  std::vector<StageStatus> status() const;

  // LocalRanks' calls of the same names, on the ranks of this process: for tests, and where all
  // ranks are in it.
  using StateTensor = LocalRanks::StateTensor;
  std::vector<StateTensor> state(int copy = 0);
  AdamW::Moments moments(const StateTensor& tensor);
  void set_moments(const StateTensor& tensor, const AdamW::Moments& whole);
  void state_changed();

  // Logits [tokens, vocab] after each of the tokens; runs them as one evaluation chunk.
  at::Tensor all_logits(const std::vector<std::int64_t>& tokens);
  // Logits [vocab] after the last token of a text that goes on: `tokens` follow those of earlier
  // calls, whose keys and values are kept until the text ends. No step may run meanwhile.
  at::Tensor continue_text(const std::vector<std::int64_t>& tokens);
  void end_text();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace infinipipe
