// Whether a run still learns: skipped steps in a row, and losses that leap.
#pragma once

#include <deque>
#include <functional>
#include <string>

#include "infinipipe/trainer/trainer.h"

namespace infinipipe {

// Steps without targets say nothing and are passed over. One thread.
class StepHealth final {
 public:
  using Warn = std::function<void(const std::string&)>;

  // `most`: skipped steps in a row that end the run; 0: no limit.
  StepHealth(int most, Warn warn) : most_(most), warn_(std::move(warn)) {}

  // After each step. Warns of a skipped one, and of a loss far above those of late. Throws RunError
  // once so many in a row were skipped; `last_good`: the checkpoint before them, for the message.
  void observe(const StepMetrics& metrics, const std::string& last_good);

  // Skipped in a row until now: while there are any, weights do not change, and checkpoints would
  // only push out better ones.
  int skipped_in_a_row() const { return in_a_row_; }

  static constexpr std::size_t kWindow = 50;  // losses that a new one is held against
  static constexpr std::size_t kLeast = 10;   // before that nothing is a leap

 private:
  bool leaps(double loss) const;

  int most_;
  Warn warn_;
  int in_a_row_ = 0;
  std::deque<double> losses_;
};

}  // namespace infinipipe
