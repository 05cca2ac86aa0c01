#include "baselines/static_system.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>
#include <set>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kTuningBatches = 8;
}  // namespace

std::vector<std::size_t> tuning_batches(std::span<const std::vector<Tokens>> sample,
                                        std::size_t most) {
  std::set<std::size_t> chosen;
  std::size_t longest = 0;
  std::size_t fullest = 0;
  Tokens length = 0;
  Tokens tokens = 0;
  for (std::size_t i = 0; i < sample.size(); ++i) {
    Tokens sum = 0;
    for (const Tokens n : sample[i]) {
      sum += n;
      if (n > length) {
        length = n;
        longest = i;
      }
    }
    if (sum > tokens) {
      tokens = sum;
      fullest = i;
    }
  }
  if (!sample.empty()) chosen = {longest, fullest};
  const std::size_t count = std::min(most, sample.size());
  for (std::size_t i = 0; i < count && chosen.size() < count; ++i) {
    chosen.insert(i * sample.size() / count);
  }
  return {chosen.begin(), chosen.end()};
}

std::string StaticSystem::fits_at_none(const std::vector<Tokens>& sequences, Bytes limit) const {
  const Tokens longest = *std::max_element(sequences.begin(), sequences.end());
  return name_ + ": a sequence of " + format_count(longest) + " tokens fits at none of " +
         std::to_string(settings_) + " settings within " + format_bytes(limit);
}

void StaticSystem::tune(std::span<const std::vector<Tokens>> sample) {
  tuned_ = -1;
  const std::vector<std::size_t> batches = tuning_batches(sample, kTuningBatches);
  Seconds least = kInfinity;
  std::size_t most = 0;  // batches that fit: a setting that holds more of them wins
  for (int setting = 0; setting < settings_; ++setting) {
    Seconds sum = 0.0;
    std::size_t fits = 0;
    for (const std::size_t batch : batches) {
      if (sample[batch].empty()) continue;
      // Time that is left to be the fastest, where all batches fit both.
      const Seconds enough = most == batches.size() ? least - sum : kInfinity;
      const SystemResult result = run_setting(setting, sample[batch], enough);
      if (result.status != SystemStatus::kOk) continue;
      sum += result.seconds;
      ++fits;
      if (sum >= least && most == batches.size()) break;
    }
    if (fits > most || (fits == most && fits > 0 && sum < least)) {
      tuned_ = setting;
      least = sum;
      most = fits;
    }
  }
}

SystemResult StaticSystem::best_of(int begin, int end, const std::vector<Tokens>& sequences) const {
  SystemResult best;
  best.status = SystemStatus::kOutOfMemory;
  best.seconds = kInfinity;
  Seconds bound = kInfinity;
  for (int setting = begin; setting < end; ++setting) {
    SystemResult result = run_setting(setting, sequences, best.seconds);
    if (result.lower_bound > 0.0) bound = std::min(bound, result.lower_bound);
    if (result.status == SystemStatus::kOk && result.seconds < best.seconds) {
      best = std::move(result);
    }
  }
  best.lower_bound = bound;
  return best;
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
  if (tuned_ >= 0) best = best_of(tuned_, tuned_ + 1, sequences);
  if (best.seconds == kInfinity) best = best_of(0, settings_, sequences);
  if (best.seconds == kInfinity) {
    SystemResult none;
    none.status = SystemStatus::kOutOfMemory;
    none.reason = out_of_memory(sequences);
    none.settings = Json::object();
    return none;
  }
  best.lower_bound = std::min(best.lower_bound, best.seconds);
  const Tokens tokens = std::accumulate(sequences.begin(), sequences.end(), Tokens{0});
  best.tokens_per_second = static_cast<double>(tokens) / best.seconds;
  best.plan_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return best;
}

}  // namespace infinipipe
