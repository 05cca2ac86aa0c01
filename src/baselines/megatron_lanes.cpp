#include "baselines/megatron_lanes.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

namespace infinipipe {
namespace {

// All that a chunk's cost depends on: equal ones cost the same.
using Key = std::vector<std::tuple<const MegatronCost*, double, Tokens, int>>;

Key key_of(const Lane& lane) {
  Key key;
  for (const LaneChunk& chunk : lane)
    key.push_back({chunk.cost, chunk.load.token2, chunk.load.tokens, chunk.load.sequences});
  return key;
}

}  // namespace

Seconds StepBound::seconds() const {
  constexpr double kRoundingGuard = 1.0 - 1e-12;
  return kRoundingGuard * std::max(shared, longest);
}

StepBound step_bound(const SystemContext& context, const MegatronCost& cost,
                     const std::vector<Tokens>& sequences) {
  GroupLoad all = cost.no_load();
  GroupLoad longest = cost.no_load();
  longest.add(*std::max_element(sequences.begin(), sequences.end()));
  for (const Tokens length : sequences) all.add(length);
  return {cost.least(all) * cost.group() / context.devices, cost.least(longest)};
}

SystemResult run_lanes(const SystemContext& context, int stages, int width,
                       const std::vector<Lane>& lanes) {
  std::map<Key, std::pair<const Lane*, int>> different;  // and how many there are of each
  for (const Lane& lane : lanes) {
    if (lane.empty()) continue;
    ++different.try_emplace(key_of(lane), &lane, 0).first->second.second;
  }
  SystemResult result;
  result.peak_bytes.assign(static_cast<std::size_t>(stages), 0.0);
  Seconds busy = 0.0;
  for (const auto& [key, entry] : different) {
    const Lane& lane = *entry.first;
    const auto at = [&](int chunk) -> const LaneChunk& {
      return lane[static_cast<std::size_t>(chunk)];
    };
    const auto chunk_cost = [&](int stage, int chunk) {
      return at(chunk).cost->chunk(stage, at(chunk).load);
    };
    const PipelineRun run =
        run_1f1b(stages, static_cast<int>(lane.size()), chunk_cost,
                 [&](int chunk) { return at(chunk).cost->message(at(chunk).load); });
    const Seconds overhead = lane.front().cost->step_overhead(
        chunk_cost(0, static_cast<int>(lane.size()) - 1).backward, chunk_cost(0, 0).forward);
    result.seconds = std::max(result.seconds, run.seconds + overhead);
    busy += entry.second * std::accumulate(run.busy.begin(), run.busy.end(), 0.0);
    for (std::size_t p = 0; p < run.peak.size(); ++p) {
      result.peak_bytes[p] = std::max(
          result.peak_bytes[p], run.peak[p] + lane.front().cost->fixed_bytes(static_cast<int>(p)));
    }
  }
  result.bubble = 1.0 - busy * width / (context.devices * result.seconds);
  const Bytes limit = context.limit();
  const Bytes peak = *std::max_element(result.peak_bytes.begin(), result.peak_bytes.end());
  if (limit > 0.0 && peak > limit) result.status = SystemStatus::kOutOfMemory;
  return result;
}

}  // namespace infinipipe
