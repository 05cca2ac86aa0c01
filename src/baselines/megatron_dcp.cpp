#include "baselines/megatron_dcp.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "baselines/megatron_lanes.h"
#include "baselines/packing.h"
#include "baselines/static_system.h"
#include "baselines/systems.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kSizes = 12;  // of a rank's tokens, each twice the one before

// A layout with all context degrees that its ranks can form, ascending from 1.
struct Choice {
  MegatronSetting layout;  // context is 1, so `data` are the ranks
  std::vector<MegatronCost> costs;
};

class MegatronDcp final : public StaticSystem {
 public:
  MegatronDcp(const SystemContext& context, std::vector<Choice> choices)
      : StaticSystem(system_name::kMegatronDcp, static_cast<int>(choices.size())),
        context_(context),
        choices_(std::move(choices)) {}

 private:
  SystemResult run_setting(int setting, const std::vector<Tokens>& sequences,
                           Seconds enough) const override;
  std::string out_of_memory(const std::vector<Tokens>& sequences) const override;

  Seconds bound(const Choice& choice, const std::vector<Tokens>& sequences) const;
  SystemResult step(const Choice& choice, const std::vector<Tokens>& sequences, Tokens per_rank,
                    std::size_t least) const;

  SystemContext context_;
  std::vector<Choice> choices_;
};

// All devices busy without a bubble at the degree that costs them least, or the longest sequence
// alone at the degree that ends first. A larger degree shares the tokens' work out and multiplies
// the constants, so no mixture of degrees costs devices less than the cheapest of them.
Seconds MegatronDcp::bound(const Choice& choice, const std::vector<Tokens>& sequences) const {
  StepBound least{kInfinity, kInfinity};
  for (const MegatronCost& cost : choice.costs) {
    const StepBound one = step_bound(context_, cost, sequences);
    least.shared = std::min(least.shared, one.shared);
    least.longest = std::min(least.longest, one.longest);
  }
  return least.seconds();
}

// A rank holds `per_rank` tokens of a micro-batch: a sequence takes the least degree, from the
// given one on, that has room for it, and sequences of one degree are packed together. Groups are
// neighbouring ranks, as the communicators that Megatron makes beforehand are. Dearest first, each
// micro-batch goes to the ranks that are free first.
SystemResult MegatronDcp::step(const Choice& choice, const std::vector<Tokens>& sequences,
                               Tokens per_rank, std::size_t least) const {
  const MegatronSetting& layout = choice.layout;
  SystemResult none;
  none.status = SystemStatus::kOutOfMemory;
  std::vector<Bin> of_degree(choice.costs.size());
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    std::size_t c = least;
    while (c < choice.costs.size() && sequences[i] > per_rank * choice.costs[c].setting().context)
      ++c;
    if (c == choice.costs.size()) return none;
    of_degree[c].push_back(static_cast<int>(i));
  }
  struct MicroBatch {
    Bin bin;
    GroupLoad load;
    const MegatronCost* cost;
    Seconds seconds;
  };
  std::vector<MicroBatch> micro_batches;
  for (std::size_t c = 0; c < choice.costs.size(); ++c) {
    const MegatronCost& cost = choice.costs[c];
    std::vector<Tokens> lengths;
    for (const int i : of_degree[c]) lengths.push_back(sequences[static_cast<std::size_t>(i)]);
    for (const Bin& packed : best_fit_decreasing(lengths, per_rank * cost.setting().context)) {
      MicroBatch& micro = micro_batches.emplace_back();
      micro.load = cost.no_load();
      micro.cost = &cost;
      for (const int i : packed) {
        micro.bin.push_back(of_degree[c][static_cast<std::size_t>(i)]);
        micro.load.add(lengths[static_cast<std::size_t>(i)]);
      }
      micro.seconds = cost.least(micro.load);
    }
  }
  std::stable_sort(
      micro_batches.begin(), micro_batches.end(), [](const MicroBatch& a, const MicroBatch& b) {
        return a.seconds * a.cost->setting().context > b.seconds * b.cost->setting().context;
      });

  const auto ranks = static_cast<std::size_t>(layout.data);
  std::vector<Lane> lanes(ranks);
  std::vector<Seconds> work(ranks, 0.0);
  std::vector<std::size_t> rows(ranks, 0);
  std::vector<std::vector<GroupShare>> shown;
  for (MicroBatch& micro : micro_batches) {
    const auto degree = static_cast<std::size_t>(micro.cost->setting().context);
    std::size_t first = 0;
    Seconds free = kInfinity;
    for (std::size_t begin = 0; begin + degree <= ranks; begin += degree) {
      const auto from = work.begin() + static_cast<std::ptrdiff_t>(begin);
      const Seconds when = *std::max_element(from, from + static_cast<std::ptrdiff_t>(degree));
      if (when >= free) continue;
      free = when;
      first = begin;
    }
    std::size_t row = 0;
    for (std::size_t r = first; r < first + degree; ++r) row = std::max(row, rows[r]);
    for (std::size_t r = first; r < first + degree; ++r) {
      lanes[r].push_back({micro.cost, micro.load});
      work[r] = free + micro.seconds;
      rows[r] = row + 1;
    }
    if (shown.size() <= row) shown.resize(row + 1);
    const int devices = micro.cost->group() * layout.stages;
    shown[row].push_back({devices, std::move(micro.bin), micro.seconds});
  }
  SystemResult result = run_lanes(context_, layout.stages, layout.tensor, lanes);
  Json groups = Json::array();
  for (const std::vector<GroupShare>& row : shown) {
    Json degrees = Json::array();
    for (const GroupShare& group : row)
      degrees.push_back(group.devices / (layout.tensor * layout.stages));
    groups.push_back({{"degrees", std::move(degrees)}});
  }
  result.settings = {{"tensor_parallel", layout.tensor},
                     {"stages", layout.stages},
                     {"ranks", layout.data},
                     {"recomputed_layers", layout.recompute},
                     {"tokens_per_rank", per_rank},
                     {"micro_batches", shown.size()},
                     {"groups", std::move(groups)},
                     {"zero", 1}};
  result.micro_batches = std::move(shown);
  return result;
}

SystemResult MegatronDcp::run_setting(int setting, const std::vector<Tokens>& sequences,
                                      Seconds enough) const {
  const Choice& choice = choices_[static_cast<std::size_t>(setting)];
  SystemResult best;
  best.status = SystemStatus::kOutOfMemory;
  best.seconds = kInfinity;
  const Bytes limit = context_.limit();
  if (limit > 0.0 && choice.costs.front().fixed_bytes(0) > limit) return best;
  const Seconds lower = bound(choice, sequences);
  best.lower_bound = lower;
  if (lower >= enough) {
    best.status = SystemStatus::kOk;
    return best;
  }
  const Tokens longest = *std::max_element(sequences.begin(), sequences.end());
  const Tokens total = std::accumulate(sequences.begin(), sequences.end(), Tokens{0});
  const int most = choice.costs.back().setting().context;
  Tokens per_rank = (longest + most - 1) / most;
  for (int i = 0; i < kSizes; ++i, per_rank *= 2) {
    for (std::size_t least = 0; least < choice.costs.size(); ++least) {
      SystemResult next = step(choice, sequences, per_rank, least);
      if (next.status != SystemStatus::kOk || next.seconds >= best.seconds) continue;
      best = std::move(next);
      best.lower_bound = lower;
    }
    if (per_rank >= total) break;
  }
  return best;
}

std::string MegatronDcp::out_of_memory(const std::vector<Tokens>& sequences) const {
  return fits_at_none(sequences, context_.limit());
}

}  // namespace

std::unique_ptr<System> make_megatron_dcp(const SystemContext& context) {
  std::vector<Choice> choices;
  for (const MegatronSetting& layout : megatron_layouts(context)) {
    Choice& choice = choices.emplace_back();
    choice.layout = layout;
    for (int c = 1; c <= layout.data; c *= 2) {
      if (layout.data % c != 0 || !megatron_knows(context, layout.tensor, c)) continue;
      choice.costs.emplace_back(context, MegatronSetting{layout.tensor, c, layout.stages,
                                                         layout.data / c, layout.recompute});
    }
  }
  if (choices.empty()) throw_no_degrees(system_name::kMegatronDcp, context.devices);
  return std::make_unique<MegatronDcp>(context, std::move(choices));
}

}  // namespace infinipipe
