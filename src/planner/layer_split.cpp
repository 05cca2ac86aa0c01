#include "planner/layer_split.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

struct StageOption {
  Seconds seconds = 0.0;
  bool fits = true;
};

// What a split of the first stages costs; smaller is better, field by field.
struct SplitCost {
  int unfit = 0;  // stages whose states do not fit
  Seconds busiest = 0.0;
  double squares = 0.0;
  double early = 0.0;  // layers weighted by how many later stages there are

  auto operator<=>(const SplitCost&) const = default;
};

std::vector<LayerRange> ranges_of(const std::vector<int>& counts) {
  std::vector<LayerRange> ranges;
  int begin = 0;
  for (const int count : counts) {
    ranges.push_back({begin, begin + count});
    begin += count;
  }
  return ranges;
}

// options[p][l]: stage p with l layers, the others sharing the rest in any way.
std::vector<std::vector<StageOption>> stage_options(const Profile& profile,
                                                    const Parallelism& parallelism, int layers,
                                                    Bytes limit) {
  constexpr Tokens kLength = 8192;
  const ChunkShape chunk{.token2 = static_cast<double>(kLength) * static_cast<double>(kLength),
                         .tokens = kLength,
                         .slices = 1};
  const int stages = parallelism.stages;
  const int most = layers - (stages - 1);
  std::vector<std::vector<StageOption>> options(
      static_cast<std::size_t>(stages),
      std::vector<StageOption>(static_cast<std::size_t>(most) + 1));
  for (int p = 0; p < stages; ++p) {
    for (int l = stages == 1 ? layers : 1; l <= most; ++l) {
      std::vector<int> counts(static_cast<std::size_t>(stages), 1);
      counts[static_cast<std::size_t>(p)] = l;
      if (stages > 1) counts[p == 0 ? 1 : 0] += layers - (stages - 1) - l;
      const CostModel cost(profile, parallelism, ranges_of(counts));
      const StageId stage(p);
      options[static_cast<std::size_t>(p)][static_cast<std::size_t>(l)] = {
          .seconds = cost.forward(stage, chunk) + cost.backward(stage, chunk),
          .fits = limit <= 0.0 || cost.state_bytes(stage) + cost.workspace_bytes() < limit};
    }
  }
  return options;
}

}  // namespace

std::vector<int> balance_layers(const Profile& profile, const Parallelism& parallelism, int layers,
                                Bytes limit) {
  const int stages = parallelism.stages;
  INFINIPIPE_ASSERT(stages >= 1 && layers >= stages, "a stage without layers");
  const auto options = stage_options(profile, parallelism, layers, limit);
  const auto width = static_cast<std::size_t>(layers) + 1;
  constexpr double kNever = std::numeric_limits<double>::infinity();
  const SplitCost never{.unfit = stages + 1, .busiest = kNever};
  // best[p][n]: the first p stages hold n layers.
  std::vector<std::vector<SplitCost>> best(static_cast<std::size_t>(stages) + 1,
                                           std::vector<SplitCost>(width, never));
  std::vector<std::vector<int>> choice(static_cast<std::size_t>(stages) + 1,
                                       std::vector<int>(width, 0));
  best[0][0] = SplitCost{};
  for (int p = 0; p < stages; ++p) {
    const auto s = static_cast<std::size_t>(p);
    for (int n = p + 1; n <= layers - (stages - 1 - p); ++n) {
      for (int l = 1; l <= n - p && l < static_cast<int>(options[s].size()); ++l) {
        const SplitCost& before = best[s][static_cast<std::size_t>(n - l)];
        if (before.unfit > stages) continue;
        const StageOption& option = options[s][static_cast<std::size_t>(l)];
        if (stages == 1 && l != layers) continue;
        const SplitCost cost{.unfit = before.unfit + (option.fits ? 0 : 1),
                             .busiest = std::max(before.busiest, option.seconds),
                             .squares = before.squares + option.seconds * option.seconds,
                             .early = before.early + static_cast<double>(l) * (stages - p)};
        SplitCost& entry = best[s + 1][static_cast<std::size_t>(n)];
        // Sums in another order differ in the last digits: equal within a hair counts as equal.
        const double hair = 1e-9;
        const bool less = cost.unfit != entry.unfit                   ? cost.unfit < entry.unfit
                          : cost.busiest < entry.busiest * (1 - hair) ? true
                          : cost.busiest > entry.busiest * (1 + hair) ? false
                          : cost.squares < entry.squares * (1 - hair) ? true
                          : cost.squares > entry.squares * (1 + hair) ? false
                                                                      : cost.early < entry.early;
        if (!less) continue;
        entry = cost;
        choice[s + 1][static_cast<std::size_t>(n)] = l;
      }
    }
  }
  std::vector<int> counts(static_cast<std::size_t>(stages));
  for (int p = stages, n = layers; p > 0; --p) {
    counts[static_cast<std::size_t>(p - 1)] =
        choice[static_cast<std::size_t>(p)][static_cast<std::size_t>(n)];
    n -= counts[static_cast<std::size_t>(p - 1)];
  }
  return counts;
}

std::vector<LayerRange> stage_layers(const PlanContext& context) {
  const int stages = context.parallelism.stages;
  const int layers = context.layers;
  std::string given;
  bool good = stages >= 1 && layers >= stages;
  if (context.layers_per_stage) {
    const std::vector<int>& counts = *context.layers_per_stage;
    const int sum = std::accumulate(counts.begin(), counts.end(), 0);
    good = good && static_cast<int>(counts.size()) == stages && sum == layers &&
           *std::min_element(counts.begin(), counts.end()) >= 1;
    given = ", layers_per_stage names " + std::to_string(counts.size()) + " stages and " +
            std::to_string(sum) + " layers";
  }
  if (!good) {
    throw InputError(
        "parallelism",
        std::to_string(layers) + " layers on " + std::to_string(stages) + " stages" + given,
        "expected at least one layer on every stage and all layers placed",
        "change parallelism.stages or parallelism.layers_per_stage");
  }
  const Bytes limit = context.limit();
  if (context.layers_per_stage) return ranges_of(*context.layers_per_stage);
  if (!context.config.passes.has(Pass::kLayerSplit)) {
    std::vector<int> counts;
    for (int p = 0; p < stages; ++p)
      counts.push_back((p + 1) * layers / stages - p * layers / stages);
    return ranges_of(counts);
  }
  return ranges_of(balance_layers(context.profile, context.parallelism, layers, limit));
}

}  // namespace infinipipe
