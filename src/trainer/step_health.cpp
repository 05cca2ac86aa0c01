#include "trainer/step_health.h"

#include <cmath>
#include <vector>

#include "base/statistics.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// A leap is beyond so many typical deviations of the losses of late, and by so much of their
// median.
constexpr double kDeviations = 8.0;
constexpr double kShare = 0.2;
// The median deviation of normal numbers is this much of their standard deviation.
constexpr double kOfDeviation = 0.6745;

}  // namespace

bool StepHealth::leaps(double loss) const {
  if (losses_.size() < kLeast) return false;
  const std::vector<double> values(losses_.begin(), losses_.end());
  const double middle = median(values);
  std::vector<double> deviations;
  for (const double value : values) deviations.push_back(std::abs(value - middle));
  const double usual = median(deviations) / kOfDeviation;
  return loss - middle > std::max(kDeviations * usual, kShare * std::abs(middle));
}

void StepHealth::observe(const StepMetrics& metrics, const std::string& last_good) {
  const std::string step = "step " + std::to_string(metrics.step);
  if (!metrics.skipped) {
    in_a_row_ = 0;
    if (leaps(metrics.loss)) {
      warn_(step + ": the loss leapt to " + std::to_string(metrics.loss) + ", from about " +
            std::to_string(median({losses_.begin(), losses_.end()})));
    }
    losses_.push_back(metrics.loss);
    if (losses_.size() > kWindow) losses_.pop_front();
    return;
  }
  if (metrics.skipped_because == kNoTargets) return;
  ++in_a_row_;
  const std::string what = std::isfinite(metrics.loss) ? "gradient's norm" : "loss";
  warn_(step + " was skipped: its " + what + " is not finite");
  if (most_ == 0 || in_a_row_ < most_) return;
  throw RunError(step,
                 std::to_string(in_a_row_) + " steps in a row were skipped, the last for a " +
                     what + " that is not finite",
                 "expected a run that learns (training.max_skipped_steps)",
                 (last_good.empty() ? std::string("no checkpoint of this run is known to be good")
                                    : "the last good checkpoint is " + last_good) +
                     "; lower optimizer.lr, or find the cause with --training.check_finite true");
}

}  // namespace infinipipe
