// What an engine is made of; the same on every rank.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "comm/rank_layout.h"
#include "infinipipe/core/config.h"
#include "infinipipe/core/plan.h"
#include "model/common/compute_path.h"

namespace infinipipe {

class Ranks;

struct EngineOptions {
  ModelSpec model;
  std::vector<LayerRange> stages;
  int replicas = 1;
  int shards = 1;  // ranks of a stage that share each chunk: sequence parallelism
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
  bool time_parts = false;       // fill StepResult::parts
  bool check_finite = false;     // fill StepResult::not_finite and Update::not_finite
  Tokens head_block_tokens = 0;  // StageModel::Options
  // The same, of this process's ranks only.
  std::optional<ComputePath> path;
  // Called on a stage's thread before each of its instructions; what it throws fails the step as
  // any other error would. For supervision and fault injection. Of this process's ranks only.
  std::function<void(int step, StageId stage, const Instruction&)> before_instruction;
  // The processes that share the work, one rank each; this one is rank 0. Null: all ranks are
  // threads of this process. Must outlive the engine.
  Ranks* ranks = nullptr;
  bool nccl = false;          // with `ranks`: tensors go from GPU to GPU, else through the host
  bool direct_copies = true;  // CommunicatorOptions

  RankLayout layout() const { return {static_cast<int>(stages.size()), replicas, shards}; }
};

// What a configuration says of it: all but the stages' layers, the processes, and what only some
// callers want (check_finite, time_parts and so on).
EngineOptions engine_options_of(const TrainConfig& config);

}  // namespace infinipipe
