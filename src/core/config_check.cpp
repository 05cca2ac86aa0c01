#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/number_text.h"
#include "core/gpus.h"
#include "core/limits.h"
#include "core/model_tensors.h"
#include "core/names.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/config.h"
#include "infinipipe/core/keeping.h"

namespace infinipipe {
namespace {

[[noreturn]] void fail(const std::string& key, const std::string& found,
                       const std::string& expected, const std::string& next = {}) {
  throw InputError("config: " + key, "found " + found, "expected " + expected, next);
}

void at_least(const char* key, std::int64_t value, std::int64_t low) {
  if (value < low) fail(key, std::to_string(value), "at least " + std::to_string(low));
}

void between(const char* key, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return;
  fail(key, std::to_string(value),
       "at least " + std::to_string(low) + " and at most " + std::to_string(high));
}

// A finite number of at least `low`; below `under`, or up to it if `closed`.
void within(const char* key, double value, double low, double under = HUGE_VAL,
            bool closed = false) {
  const bool below = closed ? value <= under : value < under;
  if (std::isfinite(value) && value >= low && below) return;
  std::string expected = "a finite number of at least " + number_text(low);
  if (std::isfinite(under))
    expected += (closed ? " and at most " : " and below ") + number_text(under);
  fail(key, number_text(value), expected);
}

void check_split(const TrainConfig& config) {
  const std::int64_t layers = config.model.num_hidden_layers;
  const int stages = config.parallelism.stages;
  if (stages > layers) {
    fail("parallelism.stages",
         std::to_string(stages) + " stages for " + std::to_string(layers) +
             (layers == 1 ? " layer" : " layers"),
         "at most one stage per layer", "use fewer stages or a deeper model");
  }
  if (!config.parallelism.layers_per_stage) return;
  const std::vector<int>& split = *config.parallelism.layers_per_stage;
  const std::string key = "parallelism.layers_per_stage";
  if (split.size() != static_cast<std::size_t>(stages)) {
    fail(key, std::to_string(split.size()) + " numbers",
         "one per stage (parallelism.stages = " + std::to_string(stages) + ")");
  }
  for (const int count : split) at_least(key.c_str(), count, 1);
  const std::int64_t sum = std::accumulate(split.begin(), split.end(), std::int64_t{0});
  if (sum != layers) {
    fail(key, "a sum of " + std::to_string(sum),
         "model.num_hidden_layers = " + std::to_string(layers));
  }
}

void check_only(const TrainConfig& config) {
  const std::vector<ModelTensor> tensors = model_tensors(config.model);
  for (const std::string& part : config.training.only) {
    std::vector<std::string> known;
    for (const ModelTensor& tensor : tensors) {
      if (is_trained(tensor.name, {part})) {
        known.clear();
        break;
      }
      for (std::string rest = tensor.name; !rest.empty();) {  // its parts between dots
        const std::size_t dot = rest.find('.');
        const std::string each = rest.substr(0, dot);
        if (std::find(known.begin(), known.end(), each) == known.end()) known.push_back(each);
        rest = dot == std::string::npos ? "" : rest.substr(dot + 1);
      }
    }
    if (known.empty()) continue;
    const std::string near = nearest(part, known);
    fail("training.only", "'" + part + "'",
         "a part of a weight's name, like q_proj or model.layers.0",
         near.empty() ? "" : "did you mean " + near + "?");
  }
}

void check_eval(const EvalConfig& eval) {
  at_least("eval.every", eval.every, 0);
  at_least("eval.sequences", eval.sequences, 0);
  if (eval.every > 0 && eval.data.empty()) {
    fail("eval.every", std::to_string(eval.every) + " without eval.data",
         "a data set to evaluate on", "set eval.data");
  }
}

}  // namespace

void TrainConfig::check() const {
  try {
    model.check();
    data.sets();
  } catch (const InputError& error) {
    throw InputError("config", error.what());
  }
  if (data.tokenizer.empty()) fail("data.tokenizer", "nothing", "byte, or a path");
  at_least("data.max_sequence_length", data.max_sequence_length, 1);

  at_least("training.steps", training.steps, 1);
  between("training.sequences_per_step", training.sequences_per_step, 1, kMostSequences);
  at_least("training.tokens_per_step", training.tokens_per_step, 0);
  at_least("training.seed", training.seed, 0);
  within("training.max_minutes", training.max_minutes, 0.0);
  at_least("training.max_skipped_steps", training.max_skipped_steps, 0);
  check_only(*this);

  within("optimizer.lr", optimizer.lr, 0.0);
  within("optimizer.min_lr_ratio", optimizer.min_lr_ratio, 0.0, 1.0, true);
  at_least("optimizer.warmup_steps", optimizer.warmup_steps, 0);
  at_least("optimizer.decay_steps", optimizer.decay_steps, 0);
  at_least("optimizer.wsd_decay_steps", optimizer.wsd_decay_steps, 0);
  within("optimizer.beta1", optimizer.beta1, 0.0, 1.0);
  within("optimizer.beta2", optimizer.beta2, 0.0, 1.0);
  within("optimizer.eps", optimizer.eps, 0.0);
  within("optimizer.weight_decay", optimizer.weight_decay, 0.0);
  within("optimizer.clip_grad_norm", optimizer.clip_grad_norm, 0.0);

  between("parallelism.stages", parallelism.stages, 1, kMostStages);
  between("parallelism.sequence_parallel", parallelism.sequence_parallel, 1, kMostSequenceParallel);
  between("parallelism.data_parallel", parallelism.data_parallel, 1, kMostReplicas);
  const std::int64_t devices =
      std::int64_t{parallelism.stages} * parallelism.sequence_parallel * parallelism.data_parallel;
  if (devices > kMostDevices) {
    fail("parallelism", std::to_string(devices) + " devices in all",
         "at most " + std::to_string(kMostDevices));
  }
  check_split(*this);

  within("memory.bytes_per_stage", memory.bytes_per_stage, 0.0, kMostStageBytes, true);

  if (planner.name.empty()) fail("planner.name", "nothing", "a planner's name");
  if (planner.slices) between("planner.slices", *planner.slices, 1, kMostSlices);
  if (planner.chunk_tokens) at_least("planner.chunk_tokens", *planner.chunk_tokens, 1);
  if (planner.recompute_keeps != "auto" && !remade_level(planner.recompute_keeps)) {
    fail("planner.recompute_keeps", "'" + planner.recompute_keeps + "'", remade_level_names());
  }
  if (planner.degree != "whole" && planner.degree != "auto") {
    fail("planner.degree", "'" + planner.degree + "'", "whole or auto");
  }
  within("planner.solver_gap", planner.solver_gap, 0.0, 1.0);
  at_least("planner.solver_nodes", planner.solver_nodes, 0);
  within("planner.solver_seconds", planner.solver_seconds, 0.0);
  between("planner.ahead", planner.ahead, 0, kMostPlansAhead);

  if (is_estimate(cluster.profile)) estimated_gpu(cluster.profile);
  between("cluster.devices", cluster.devices, 0, kMostDevices);
  between("cluster.devices_per_node", cluster.devices_per_node, 1, kMostDevices);

  between("runtime.threads_per_stage", runtime.threads_per_stage, 1, kMostThreads);
  within("runtime.stalled_after_seconds", runtime.stalled_after_seconds, 0.0);
  within("runtime.lost_after_seconds", runtime.lost_after_seconds, 1.0);

  at_least("checkpoint.every", checkpoint.every, 0);
  at_least("checkpoint.keep", checkpoint.keep, 1);
  if (checkpoint.every > 0 && checkpoint.path.empty()) {
    fail("checkpoint.every", std::to_string(checkpoint.every) + " without checkpoint.path",
         "a folder for the checkpoints", "set checkpoint.path");
  }
  check_eval(eval);
}

}  // namespace infinipipe
