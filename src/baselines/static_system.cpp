#include "baselines/static_system.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();
}  // namespace

void StaticSystem::tune(std::span<const std::vector<Tokens>> sample) {
  int best = -1;
  Seconds least = kInfinity;
  std::size_t most = 0;  // batches that fit: a setting that holds more of them wins
  for (const int setting : left_) {
    Seconds sum = 0.0;
    std::size_t fits = 0;
    for (const std::vector<Tokens>& batch : sample) {
      if (batch.empty()) continue;
      const SystemResult result = run_setting(setting, batch, kInfinity);
      if (result.status != SystemStatus::kOk) continue;
      sum += result.seconds;
      ++fits;
    }
    if (fits > most || (fits == most && fits > 0 && sum < least)) {
      best = setting;
      least = sum;
      most = fits;
    }
  }
  if (best >= 0) left_ = {best};
}

SystemResult StaticSystem::run(const std::vector<Tokens>& sequences) const {
  const auto started = std::chrono::steady_clock::now();
  for (const Tokens length : sequences) {
    if (length >= 1) continue;
    throw InputError(name_, "a sequence of " + std::to_string(length) + " tokens",
                     "expected at least 1", "leave empty sequences out of the batch");
  }
  SystemResult best;
  best.settings = Json::object();
  if (sequences.empty()) return best;
  best.seconds = kInfinity;
  Seconds bound = kInfinity;
  for (const int setting : left_) {
    SystemResult result = run_setting(setting, sequences, best.seconds);
    if (result.lower_bound > 0.0) bound = std::min(bound, result.lower_bound);
    if (result.status != SystemStatus::kOk) continue;
    if (result.seconds < best.seconds) best = std::move(result);
  }
  if (best.seconds == kInfinity) {
    SystemResult none;
    none.status = SystemStatus::kOutOfMemory;
    none.reason = out_of_memory(sequences);
    none.settings = Json::object();
    return none;
  }
  best.lower_bound = std::min(bound, best.seconds);
  const Tokens tokens = std::accumulate(sequences.begin(), sequences.end(), Tokens{0});
  best.tokens_per_second = static_cast<double>(tokens) / best.seconds;
  best.plan_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return best;
}

}  // namespace infinipipe
