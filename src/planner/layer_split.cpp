#include "planner/layer_split.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <unordered_map>

#include "core/attention_pairs.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

struct StageOption {
  Seconds seconds = 0.0;
  bool fits = true;
};

// What a split of the first stages costs; smaller is better, field by field.
struct SplitCost {
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

// What each stage costs with so many layers, the others sharing the rest in any way. An option is
// only made when it is asked for: making one copies the profile.
class StageOptions final {
 public:
  StageOptions(const Profile& profile, const Parallelism& parallelism, int layers, Bytes limit)
      : profile_(profile), parallelism_(parallelism), layers_(layers), limit_(limit) {
    known_.resize(static_cast<std::size_t>(parallelism.stages));
  }

  // The fewest and the most layers that any one stage may hold.
  int least() const { return parallelism_.stages == 1 ? layers_ : 1; }
  int most() const { return layers_ - (parallelism_.stages - 1); }

  // From now on every option fits.
  void forget_limit() {
    limit_ = 0.0;
    for (auto& known : known_) known.clear();
  }

  const StageOption& at(int stage, int layers) {
    auto& known = known_[static_cast<std::size_t>(stage)];
    const auto [entry, fresh] = known.try_emplace(layers);
    if (fresh) entry->second = option(stage, layers);
    return entry->second;
  }

 private:
  StageOption option(int p, int l) const {
    constexpr Tokens kLength = 8192;
    const ChunkShape chunk{.token2 = attention_token2(0, kLength, profile_.sliding_window),
                           .tokens = kLength,
                           .slices = 1};
    const int stages = parallelism_.stages;
    std::vector<int> counts(static_cast<std::size_t>(stages), 1);
    counts[static_cast<std::size_t>(p)] = l;
    if (stages > 1) counts[p == 0 ? 1 : 0] += layers_ - (stages - 1) - l;
    const CostModel cost(profile_, parallelism_, ranges_of(counts));
    const StageId stage(p);
    return {.seconds = cost.forward(stage, chunk) + cost.backward(stage, chunk),
            .fits = limit_ <= 0.0 || cost.state_bytes(stage) + cost.workspace_bytes() < limit_};
  }

  const Profile& profile_;
  Parallelism parallelism_;
  int layers_;
  Bytes limit_;
  std::vector<std::unordered_map<int, StageOption>> known_;  // of each stage, by layers
};

// The layers that a stage may hold in a best split.
struct Window {
  int low = 0;
  int high = 0;
};

// The most layers of each stage with which it fits and takes at most `seconds`; empty where some
// stage takes longer with its fewest, or where together they do not hold all layers.
std::vector<int> most_layers(StageOptions& options, int stages, int layers, Seconds seconds) {
  std::vector<int> most;
  std::int64_t sum = 0;
  for (int p = 0; p < stages; ++p) {
    const auto within = [&](int count) {
      const StageOption& option = options.at(p, count);
      return option.fits && option.seconds <= seconds;
    };
    int low = options.least() - 1;  // the most layers that are known to be within; below: none
    int high = options.most() + 1;
    while (high - low > 1) {
      const int middle = low + (high - low) / 2;
      (within(middle) ? low : high) = middle;
    }
    if (low < options.least()) return {};
    most.push_back(low);
    sum += low;
  }
  if (sum < layers) return {};
  return most;
}

// The layers that each stage can hold in the best split: its busiest stage's time is narrowed by
// halving, and no stage takes longer. Time and states grow with a stage's layers. Where no split
// fits, memory is forgotten: the batch will be refused, and what the fastest split lacks is said.
std::vector<Window> windows(StageOptions& options, int stages, int layers) {
  std::vector<Window> result(static_cast<std::size_t>(stages), {options.least(), options.most()});
  Seconds above = 0.0;
  for (int p = 0; p < stages; ++p) {
    above = std::max(above, options.at(p, options.most()).seconds);
  }
  std::vector<int> most = most_layers(options, stages, layers, above);
  if (most.empty()) {
    options.forget_limit();
    most = most_layers(options, stages, layers, above);
  }
  Seconds below = 0.0;
  constexpr double kNear = 1e-6;  // far above the hair within which times count as equal
  while (above - below > 0.5 * kNear * above) {
    const Seconds middle = below + 0.5 * (above - below);
    (most_layers(options, stages, layers, middle).empty() ? below : above) = middle;
  }
  most = most_layers(options, stages, layers, above * (1.0 + kNear));
  std::int64_t spare = -layers;
  for (const int count : most) spare += count;
  for (std::size_t p = 0; p < result.size(); ++p) {
    result[p].high = most[p];
    result[p].low = static_cast<int>(std::max<std::int64_t>(result[p].low, most[p] - spare));
  }
  return result;
}

}  // namespace

std::vector<int> balance_layers(const Profile& profile, const Parallelism& parallelism, int layers,
                                Bytes limit) {
  const int stages = parallelism.stages;
  INFINIPIPE_ASSERT(stages >= 1 && layers >= stages, "a stage without layers");
  StageOptions options(profile, parallelism, layers, limit);
  const std::vector<Window> window = windows(options, stages, layers);
  constexpr double kNever = std::numeric_limits<double>::infinity();
  const SplitCost never{.busiest = kNever};
  // The first p stages hold from[p] to to[p] layers; best[p][n - from[p]] is what n of them cost.
  std::vector<int> from(static_cast<std::size_t>(stages) + 1, 0);
  std::vector<int> to(static_cast<std::size_t>(stages) + 1, 0);
  std::int64_t later_high = 0;
  std::int64_t later_low = 0;
  for (const Window& each : window) {
    later_high += each.high;
    later_low += each.low;
  }
  std::int64_t low = 0;
  std::int64_t high = 0;
  for (std::size_t p = 0; p < window.size(); ++p) {
    low += window[p].low;
    high += window[p].high;
    later_low -= window[p].low;
    later_high -= window[p].high;
    from[p + 1] = static_cast<int>(std::max(low, layers - later_high));
    to[p + 1] = static_cast<int>(std::min(high, layers - later_low));
  }
  std::vector<std::vector<SplitCost>> best(static_cast<std::size_t>(stages) + 1);
  std::vector<std::vector<int>> choice(static_cast<std::size_t>(stages) + 1);
  best[0] = {SplitCost{}};
  for (int p = 0; p < stages; ++p) {
    const auto s = static_cast<std::size_t>(p);
    const auto width = static_cast<std::size_t>(to[s + 1] - from[s + 1] + 1);
    best[s + 1].assign(width, never);
    choice[s + 1].assign(width, 0);
    std::vector<StageOption> held;  // from window[s].low layers on
    for (int l = window[s].low; l <= window[s].high; ++l) held.push_back(options.at(p, l));
    for (int n = from[s + 1]; n <= to[s + 1]; ++n) {
      const auto at = static_cast<std::size_t>(n - from[s + 1]);
      const int least = std::max(window[s].low, n - to[s]);
      const int most = std::min(window[s].high, n - from[s]);
      for (int l = least; l <= most; ++l) {
        const SplitCost& before = best[s][static_cast<std::size_t>(n - l - from[s])];
        if (before.busiest == kNever) continue;
        const StageOption& option = held[static_cast<std::size_t>(l - window[s].low)];
        const SplitCost cost{.busiest = std::max(before.busiest, option.seconds),
                             .squares = before.squares + option.seconds * option.seconds,
                             .early = before.early + static_cast<double>(l) * (stages - p)};
        SplitCost& entry = best[s + 1][at];
        // Sums in another order differ in the last digits: equal within a hair counts as equal.
        const double hair = 1e-9;
        const bool less = cost.busiest < entry.busiest * (1 - hair)   ? true
                          : cost.busiest > entry.busiest * (1 + hair) ? false
                          : cost.squares < entry.squares * (1 - hair) ? true
                          : cost.squares > entry.squares * (1 + hair) ? false
                                                                      : cost.early < entry.early;
        if (!less) continue;
        entry = cost;
        choice[s + 1][at] = l;
      }
    }
  }
  std::vector<int> counts(static_cast<std::size_t>(stages));
  for (int p = stages, n = layers; p > 0; --p) {
    const auto s = static_cast<std::size_t>(p);
    counts[s - 1] = choice[s][static_cast<std::size_t>(n - from[s])];
    n -= counts[s - 1];
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
