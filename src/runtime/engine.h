// Runs plans on real stages: a thread for each stage of each replica (a rank), in this process,
// over the Communicator seam.
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
#include "runtime/optimizer.h"
#include "runtime/stage_status.h"

namespace infinipipe {

struct StepResult {
  double loss = 0.0;  // weighted mean over the batch's targets, natural log
  double target_weight = 0.0;
  // Of an evaluation: weight x cross-entropy of each token's prediction, by sequence and position.
  std::vector<std::vector<double>> token_losses;
  Trace trace;  // measured
  // Per stage, the largest over replicas.
  std::vector<Bytes> peak_bytes;             // live tensor bytes at their peak
  std::vector<Bytes> peak_activation_bytes;  // the same less weights, gradients and optimizer
  std::vector<Bytes> largest_allocation;     // of one tensor
  std::vector<PartTimes> parts;  // per stage, summed over replicas; zero unless Options::time_parts
  // With Options::check_finite: rank and layer of the first tensor that was not finite; empty:
  // none
  std::string not_finite;
};

class Engine final {
 public:
  struct Options {
    ModelSpec model;
    std::vector<LayerRange> stages;
    int replicas = 1;  // of all stages: data parallel
    Dtype dtype = Dtype::kFloat32;
    Device device = Device::kCpu;
    int threads_per_stage = 1;
    std::int64_t seed = 1;
    // Constant tables are made for documents of so many tokens at once, so that memory does not
    // grow with the first long one. Longer ones may come.
    Tokens longest = 0;
    OptimizerConfig optimizer;
    std::vector<std::string> only;  // weights that are trained (TrainingConfig::only)
    int total_steps = 1;            // for the learning-rate schedule
    bool check_messages = false;    // checked communicator wrapper
    bool pooled_allocator = true;
    bool time_parts = false;    // fill StepResult::parts
    bool check_finite = false;  // fill StepResult::not_finite and Update::not_finite
    Tokens head_block_tokens = 1024;
    // Called on a stage's thread before each of its instructions; what it throws fails the step as
    // any other error would. For supervision and fault injection.
    std::function<void(int step, StageId stage, const Instruction&)> before_instruction;
  };

  // Starts one thread per rank and makes the weights.
  explicit Engine(const Options& options);
  ~Engine();

  const Options& options() const;

  // Forward and backward of a whole batch; gradients accumulate (call zero_grad first for a new
  // step). The plan must be valid and fit the engine's stages and replicas (require_valid is
  // called). An evaluation plan only fills loss. Throws RunError naming rank, instruction and step;
  // the engine can go on with another step after zero_grad.
  StepResult run(const Plan& plan, const Batch& batch);

  // Sums gradients over replicas, clips by the global norm over all stages and applies AdamW with
  // the schedule's rate for `step` (0-based). Returns the gradient norm before clipping. A norm
  // that is not finite leaves weights and moments untouched. With several replicas zero_grad must
  // come before the next run.
  struct Update {
    double grad_norm = 0.0;
    double lr = 0.0;
    bool skipped = false;
    std::string not_finite;  // skipped, with check_finite: the first such gradient, by stage
  };
  Update optimizer_step(int step);
  void zero_grad();

  // What each rank does now; for any thread.
  std::vector<StageStatus> status() const;

  // All stages' parameters of one replica in model order, for checkpoints and tests. The engine
  // must be idle. After writing masters of replica 0, or moments, call state_changed(): only then
  // do the others have them.
  struct StateTensor {
    StageId stage;
    std::size_t index = 0;  // among the stage's
    Parameter* parameter;
  };
  std::vector<StateTensor> state(int replica = 0);
  // Each replica has the moments of a part of the tensor; these are all of them, in its shape. Of
  // one replica it is the engine's own memory, of several a copy.
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
