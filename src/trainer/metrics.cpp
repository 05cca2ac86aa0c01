#include <nlohmann/json.hpp>

#include "infinipipe/trainer/trainer.h"

namespace infinipipe {

std::string metrics_json(const StepMetrics& m) {
  nlohmann::ordered_json line = {
      {"step", m.step},
      {"time", m.time},
      {"run", m.run},
      {"run_id", m.run_id},
      {"loss", m.loss},
      {"grad_norm", m.grad_norm},
      {"lr", m.lr},
      {"tokens", m.tokens},
      {"sequences", m.sequences},
      {"targets", m.targets},
      {"seconds", m.seconds},
      {"tokens_per_second", m.tokens_per_second},
      {"flops_per_second", m.flops_per_second},
      {"mfu", m.mfu},
      {"bubble_predicted", m.bubble_predicted},
      {"bubble_measured", m.bubble_measured},
      {"seconds_predicted", m.seconds_predicted},
      {"peak_bytes", m.peak_bytes},
      {"peak_bytes_predicted", m.peak_bytes_predicted},
      {"plan_seconds", m.plan_seconds},
      {"plan_wait_seconds", m.plan_wait_seconds},
      {"plan_cpu_seconds", m.plan_cpu_seconds},
      {"planner", m.planner},
      {"slices", m.slices},
      {"pipelines", m.pipelines},
      {"chunks", m.chunks},
      {"recomputed_layers", m.recomputed_layers},
      {"skipped", m.skipped},
      {"skipped_because", m.skipped ? nlohmann::ordered_json(m.skipped_because) : nullptr},
      {"truncated_sequences", m.truncated_sequences},
      {"truncated_tokens", m.truncated_tokens},
      {"split_sequences", m.split_sequences},
      {"dropped_documents", m.dropped_documents},
      {"epochs", m.epochs},
      {"plan_hash", m.plan_hash},
      {"tokens_total", m.tokens_total},
      {"seconds_total", m.seconds_total},
      {"steps_repeated", m.steps_repeated},
      {"seconds_lost", m.seconds_lost},
      {"goodput", m.goodput},
      {"eval_loss", m.eval_loss},
      {"eval_targets", m.eval_targets},
      {"eval_seconds", m.eval_seconds},
  };
  if (!m.reserved_bytes.empty()) line["reserved_bytes"] = m.reserved_bytes;
  for (const KeepLevel& level : kKeepLevels) {
    if (level.plan_field == nullptr) continue;
    line[std::string(level.plan_field) + "_layers"] = m.recomputed_by_level[index_of(level.keep)];
  }
  return line.dump();
}

}  // namespace infinipipe
