#include <array>
#include <cmath>
#include <cstdio>

#include "infinipipe/trainer/trainer.h"

namespace infinipipe {

std::string step_line(const StepMetrics& m) {
  if (m.skipped_because == kNoTargets) {
    std::array<char, 32> step{};
    std::snprintf(step.data(), step.size(), "step %4d", m.step);
    return step.data() + std::string("  SKIPPED: no document of the batch has a target");
  }
  std::array<char, 256> head{};
  std::snprintf(head.data(), head.size(),
                "step %4d  loss %.4f  grad %.3f  lr %.1e  %7s tok/s  mfu %2.0f%%  bubble %4.1f%%",
                m.step, std::abs(m.loss), std::abs(m.grad_norm), m.lr,  // of "nan" the sign goes
                format_count(std::llround(m.tokens_per_second)).c_str(), 100.0 * m.mfu,
                100.0 * m.bubble_measured);
  std::string line = head.data();
  line += "  peak ";
  for (std::size_t stage = 0; stage < m.peak_bytes.size(); ++stage) {
    if (stage == 4 && m.peak_bytes.size() > 5) {  // many stages: the first ones and a count
      line += " +" + std::to_string(m.peak_bytes.size() - stage);
      break;
    }
    if (stage > 0) line += '/';
    line += format_bytes(m.peak_bytes[stage]);
  }
  line += "  plan " + format_seconds(m.plan_seconds);
  if (m.plan_wait_seconds >= 1e-3) line += " (waited " + format_seconds(m.plan_wait_seconds) + ")";
  if (m.skipped) line += "  SKIPPED: not finite";
  return line;
}

std::string eval_line(const StepMetrics& m) {
  std::array<char, 96> line{};
  std::snprintf(line.data(), line.size(), "eval %5d  loss %.4f  perplexity %.3f  on %s targets, ",
                m.step, std::abs(m.eval_loss), std::exp(m.eval_loss),
                format_count(std::llround(m.eval_targets)).c_str());
  return line.data() + format_seconds(m.eval_seconds);
}

}  // namespace infinipipe
