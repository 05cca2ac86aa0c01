#include "trainer/watchdog.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace infinipipe {

Watchdog::Watchdog(Status status, Seconds limit, Stalled stalled)
    : status_(std::move(status)), limit_(limit), stalled_(std::move(stalled)) {
  if (limit_ > 0.0 && stalled_) thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::watch() {
  struct Seen {
    std::uint64_t begun = 0;
    Seconds since = 0.0;
  };
  std::vector<Seen> seen;
  const std::chrono::duration<double> period(std::clamp(limit_ / 8.0, 0.01, 1.0));
  auto last = std::chrono::steady_clock::now();
  for (std::unique_lock lock(mutex_); !changed_.wait_for(lock, period, [this] { return stop_; });) {
    const auto now = std::chrono::steady_clock::now();
    // A longer gap is one in which this thread did not run, and perhaps no other one either.
    const Seconds passed =
        std::min(std::chrono::duration<double>(now - last).count(), 2.0 * period.count());
    last = now;
    const std::vector<StageStatus> stages = status_();
    seen.resize(stages.size());
    for (std::size_t p = 0; p < stages.size(); ++p) {
      const StageStatus& stage = stages[p];
      const bool same = stage.running && stage.begun == seen[p].begun;
      seen[p] = {stage.begun, same ? seen[p].since + passed : 0.0};
      if (seen[p].since < limit_) continue;
      stalled_("step " + std::to_string(stage.step) + ": " + stage.who + ", " + stage.what +
               ": has run for more than " + format_seconds(limit_) +
               ", expected less (runtime.stalled_after_seconds)");
      return;
    }
  }
}

}  // namespace infinipipe
