#include "planner/search/draft.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "infinipipe/base/error.h"

namespace infinipipe {

Draft::Draft(const std::vector<Tokens>& lengths, const BoundContext& context, double effort)
    : lengths_(lengths),
      context_(context),
      seconds_(chunk_seconds(context.cost())),
      effort_(effort) {
  INFINIPIPE_ASSERT(!lengths.empty(), "nothing to search for");
  longest_ = *std::max_element(lengths.begin(), lengths.end());
  total_ = std::accumulate(lengths.begin(), lengths.end(), Tokens{0});
  for (const Tokens length : lengths) work_ += seconds_.slice(0, length);
  if (context.config().sub_groups()) {
    for (const int degree : context.cost().degrees()) {
      sub_groups_.push_back({degree, chunk_seconds(context.cost().of_degree(degree))});
    }
  }

  const MemoryBounds memory =
      memory_bounds(context.cost(), lengths, context.limit(), context.level());
  over_stage_ = memory.stage;
  over_bytes_ = memory.over;
  if (memory.bounds.empty()) return;
  over_bytes_ = std::max(memory.over, 1.0);  // for the error, in case no cutting is tried
  for (ChunkBounds bounds : memory.bounds) {
    if (breaks_settings(bounds)) continue;
    const Tokens most = context.config().chunk_tokens.value_or(total_);
    bounds.capacity = std::min({bounds.capacity, total_, most});
    bounds.slice_capacity = std::min(bounds.slice_capacity, bounds.capacity);
    bounds_.push_back(bounds);
  }
}

// Whether these bounds contradict the user's settings: they keep a sequence whole that the settings
// want cut in slices, or that is larger than the settings allow a chunk to be.
bool Draft::breaks_settings(const ChunkBounds& bounds) const {
  if (bounds.whole_above == 0) return false;
  const PlannerConfig& config = context_.config();
  return config.slices.value_or(1) > 1 ||
         longest_ > std::max(bounds.whole_above, config.chunk_tokens.value_or(longest_));
}

std::shared_ptr<const Cutting> Draft::cost_of(int slices, Chunking chunking) {
  auto cutting = std::make_shared<Cutting>();
  cutting->slices = slices;
  cutting->chunking = std::make_shared<const Chunking>(std::move(chunking));
  cutting->table = context_.table(*cutting->chunking, lengths_);
  remember_shortfall(cutting->table);
  return cutting;
}

Seconds Draft::best_seconds() const {
  Seconds best = std::numeric_limits<double>::infinity();
  for (const Schedule& schedule : found_) best = std::min(best, schedule.seconds);
  return best;
}

std::vector<Schedule> Draft::take() {
  std::stable_sort(found_.begin(), found_.end(),
                   [](const Schedule& a, const Schedule& b) { return a.seconds < b.seconds; });
  return std::move(found_);
}

// Each group of the chunking is tried alone with full recomputation, on each stage. What the worst
// of them lacks is the chunking's shortfall; the least shortfall of all chunkings is kept.
void Draft::remember_shortfall(const ChunkTable& table) {
  if (!std::isfinite(table.budget.front())) return;
  RecomputeMatrix full(table.entries.size());
  Bytes over = 0.0;
  StageId stage;
  for (int p = 0; p < table.stages; ++p) {
    const auto s = static_cast<std::size_t>(p);
    for (int k = 0; k < table.chunks; ++k) full[table.index(p, k)] = table.layers[s];
    for (int g = 0; g < static_cast<int>(table.groups.size()); ++g) {
      const Bytes lacks = group_peaks(table, full, p, g).back() - table.budget[s];
      if (lacks > over) {
        over = lacks;
        stage = StageId(p);
      }
    }
  }
  if (seen_ && over >= over_bytes_) return;
  seen_ = true;
  over_bytes_ = over;
  over_stage_ = stage;
}

}  // namespace infinipipe
