#include "planner/chunking/memory_bounds.h"

#include <algorithm>
#include <limits>

#include "planner/chunking/chunk_table.h"

namespace infinipipe {

namespace {

// Slices below so many tokens cost more than they are worth.
constexpr double kUsefulSlice = 512.0;
// Keeping sequences whole is considered where cutting the longest leaves chunks less than this
// share of the tokens that a chunk could have otherwise.
constexpr double kScarce = 0.25;

// Bytes per token on one stage when all its layers are recomputed.
struct StageBytes {
  double kept = 0.0;   // between a chunk's forward and its backward
  double cut = 0.0;    // more in a cut sequence: K and V and their gradients
  double work = 0.0;   // more while a chunk's backward runs
  Bytes budget = 0.0;  // not per token: what the stage's chunks may take
};

StageBytes stage_bytes(const CostModel& cost, StageId stage, Bytes limit, Keep level) {
  constexpr Tokens kProbe = Tokens{1} << 20;
  const Keeping least = Keeping::of(level, cost.layers(stage));
  const ChunkShape shape{.tokens = kProbe, .slices = 1, .cut_tokens = kProbe};
  const double probe = static_cast<double>(kProbe);
  const ChunkBytes bytes = chunk_bytes(cost, stage, shape, least);
  return {
      .kept = bytes.kept.activations / probe,
      .cut = (bytes.kept.kv + bytes.grads_freed) / probe,
      .work = (cost.recompute_workspace_bytes(stage, shape) + cost.temporary_bound(stage, shape) +
               kWaitingMessages * cost.message_bytes(kProbe)) /
              probe,
      .budget = limit - cost.state_bytes(stage) - cost.workspace_bytes()};
}

}  // namespace

MemoryBounds memory_bounds(const CostModel& cost, const std::vector<Tokens>& lengths, Bytes limit,
                           Keep level) {
  MemoryBounds floor;
  constexpr Tokens kUnlimited = std::numeric_limits<Tokens>::max();
  if (limit <= 0.0 || lengths.empty()) {
    floor.bounds.push_back({.capacity = kUnlimited, .slice_capacity = kUnlimited});
    return floor;
  }
  std::vector<StageBytes> stages;
  double whole = static_cast<double>(kUnlimited / 2);  // tokens of the longest chunk that fits
  double cut = whole;  // tokens of the longest sequence that fits in slices of a useful size
  const Tokens longest = *std::max_element(lengths.begin(), lengths.end());
  for (int p = 0; p < cost.stage_count(); ++p) {
    const StageBytes& s = stages.emplace_back(stage_bytes(cost, StageId(p), limit, level));
    whole = std::min(whole, s.budget / (s.kept + s.work));
    cut = std::min(cut, (s.budget - kUsefulSlice * (s.kept + s.work)) / (s.kept + s.cut));
    const auto tokens = static_cast<double>(longest);
    const Bytes over =
        std::min(tokens * (s.kept + s.cut) + s.kept + s.work, tokens * (s.kept + s.work)) -
        s.budget;
    if (p == 0 || over > floor.over) {
      floor.stage = StageId(p);
      floor.over = over;
    }
  }
  // The most tokens of a chunk that fits beside what a cut sequence of this length holds: a slice
  // of it, with short sequences packed beside the slice.
  const auto capacity = [&](Tokens length) {
    double most = whole;
    for (const StageBytes& s : stages) {
      const Bytes needed = static_cast<double>(length) * (s.kept + s.cut);
      most = std::min(most, (s.budget - needed) / (s.kept + s.work));
    }
    return most < 1.0 ? Tokens{0} : static_cast<Tokens>(most);
  };
  const auto batched = static_cast<Tokens>(std::max(whole, 0.0));
  const Tokens all_cut = capacity(longest);
  const bool scarce = static_cast<double>(all_cut) < kScarce * whole;
  if (batched >= 1) floor.bounds.push_back({.capacity = batched, .slice_capacity = batched});
  if (scarce && longest <= batched) {
    const auto above = static_cast<Tokens>(std::max(cut, 1.0));
    Tokens longest_cut = 0;
    for (const Tokens length : lengths) {
      if (length <= above) longest_cut = std::max(longest_cut, length);
    }
    const Tokens some_cut = capacity(longest_cut);
    if (longest > above && some_cut >= 1) {
      floor.bounds.push_back(
          {.capacity = batched, .slice_capacity = some_cut, .whole_above = above});
    }
  }
  if (scarce && all_cut >= 1) {
    floor.bounds.push_back({.capacity = batched, .slice_capacity = all_cut, .last_resort = true});
  }
  if (longest > batched && all_cut < 1) floor.bounds.clear();
  if (floor.bounds.empty()) floor.over = std::max(floor.over, 1.0);
  return floor;
}

}  // namespace infinipipe
