// AdamW on one stage's parameters, the learning-rate schedule, and the norm that clips it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "infinipipe/core/config.h"
#include "model/common/compute_path.h"
#include "model/common/stage_model.h"
#include "runtime/shards.h"

namespace infinipipe {

// The rate of a 0-based step; a function of the step alone, so that a resumed run needs no state.
// Linear from lr / warmup_steps to lr over the warm-up's steps, then as lr_schedule has it down to
// lr x min_lr_ratio at decay_steps (0: total_steps), and that from there on. The constant schedule
// stays at lr.
double learning_rate(const OptimizerConfig& config, int step, int total_steps);

// The factor on all gradients that brings the norm to clip_grad_norm: 1 where the norm is within it
// or clipping is off (0); else clip / (norm + 1e-6), as in PyTorch's clip_grad_norm_.
double clip_factor(const OptimizerConfig& config, double grad_norm);

// Sum of squares of all elements in float64. The order of additions is fixed by the size: the
// result does not depend on the number of threads.
double sum_of_squares(const ComputePath& path, const at::Tensor& tensor);

// One per stage of a replica; parameters must outlive it. Of `size` replicas number `rank` owns a
// part of each tensor (shards.h), has moments for that alone and updates it alone: the caller sums
// gradients to their owners before, and shares the masters out after.
class AdamW final {
 public:
  AdamW(const OptimizerConfig& config, std::vector<Parameter>& parameters,
        const ComputePath& path = {}, int rank = 0, int size = 1);

  // Of the own part of each of `parameters`: flat, of the master's dtype.
  struct Moments {
    at::Tensor exp_avg;
    at::Tensor exp_avg_sq;
  };
  std::vector<Moments>& moments() { return moments_; }

  // Sum of squares of the own parts of the stage's trained gradients. Tied copies are left out:
  // they count on the stage that holds the original.
  double gradient_squares() const;

  // One update of the own part of every trained master from its gradient times `factor` (the
  // gradient stays as it is), with decoupled weight decay where Parameter::decay. Bias corrections
  // use step + 1. True: bfloat16 copies have the new weights too; else the caller refreshes them
  // (StageModel::weights_changed).
  bool step(int step, double lr, double factor);

 private:
  at::Tensor own(const at::Tensor& tensor) const { return owned_part(tensor, rank_, size_); }

  OptimizerConfig config_;
  ComputePath path_;
  std::vector<Parameter>& parameters_;
  int rank_;
  int size_;
  std::vector<Moments> moments_;
};

}  // namespace infinipipe
