#include "baselines/megatron.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "baselines/collectives.h"
#include "baselines/megatron_cost.h"
#include "baselines/megatron_lanes.h"
#include "baselines/packing.h"
#include "baselines/static_system.h"
#include "baselines/systems.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kSizes = 8;  // of micro-batches, each twice the one before

class Megatron final : public StaticSystem {
 public:
  Megatron(const SystemContext& context, std::vector<MegatronCost> costs)
      : StaticSystem(system_name::kMegatron, static_cast<int>(costs.size())),
        context_(context),
        costs_(std::move(costs)) {}

 private:
  SystemResult run_setting(int setting, const std::vector<Tokens>& sequences,
                           Seconds enough) const override;
  std::string out_of_memory(const std::vector<Tokens>& sequences) const override;

  SystemResult step(const MegatronCost& cost, const std::vector<Tokens>& sequences,
                    const std::vector<Bin>& bins) const;

  SystemContext context_;
  std::vector<MegatronCost> costs_;
};

// Micro-batches dealt to the replicas, dearest first, each to the one with the least so far.
SystemResult Megatron::step(const MegatronCost& cost, const std::vector<Tokens>& sequences,
                            const std::vector<Bin>& bins) const {
  const MegatronSetting& setting = cost.setting();
  struct Filled {
    GroupLoad load;
    const Bin* bin;
  };
  std::vector<Filled> filled;
  for (const Bin& bin : bins) {
    filled.push_back({cost.no_load(), &bin});
    for (const int i : bin) filled.back().load.add(sequences[static_cast<std::size_t>(i)]);
  }
  std::stable_sort(filled.begin(), filled.end(), [&](const Filled& a, const Filled& b) {
    return cost.least(a.load) > cost.least(b.load);
  });
  std::vector<Lane> replicas(static_cast<std::size_t>(setting.data));
  std::vector<Seconds> work(replicas.size(), 0.0);
  std::vector<std::vector<GroupShare>> micro_batches;
  for (const auto& [load, bin] : filled) {
    const auto least = static_cast<std::size_t>(
        std::distance(work.begin(), std::min_element(work.begin(), work.end())));
    const std::size_t row = replicas[least].size();
    if (row == micro_batches.size()) micro_batches.emplace_back();
    micro_batches[row].push_back({cost.group() * setting.stages, *bin, cost.least(load)});
    replicas[least].push_back({&cost, load});
    work[least] += cost.least(load);
  }
  SystemResult result = run_lanes(context_, setting.stages, cost.group(), replicas);
  std::size_t most = 0;
  for (const Lane& chunks : replicas) most = std::max(most, chunks.size());
  result.settings = {{"tensor_parallel", setting.tensor},
                     {"context_parallel", setting.context},
                     {"stages", setting.stages},
                     {"data_parallel", setting.data},
                     {"recomputed_layers", setting.recompute},
                     {"micro_batches", most},
                     {"zero", 1}};
  result.micro_batches = std::move(micro_batches);
  return result;
}

SystemResult Megatron::run_setting(int setting, const std::vector<Tokens>& sequences,
                                   Seconds enough) const {
  const MegatronCost& cost = costs_[static_cast<std::size_t>(setting)];
  SystemResult best;
  best.status = SystemStatus::kOutOfMemory;
  best.seconds = kInfinity;
  const Seconds lower = step_bound(context_, cost, sequences).seconds();
  const Bytes limit = context_.limit();
  if (limit > 0.0 && cost.fixed_bytes(0) > limit) return best;
  best.lower_bound = lower;
  if (lower >= enough) {
    best.status = SystemStatus::kOk;
    return best;
  }
  const Tokens total = std::accumulate(sequences.begin(), sequences.end(), Tokens{0});
  Tokens size = *std::max_element(sequences.begin(), sequences.end());
  for (int i = 0; i < kSizes; ++i, size *= 2) {
    SystemResult next = step(cost, sequences, best_fit_decreasing(sequences, size));
    if (next.status == SystemStatus::kOk && next.seconds < best.seconds) {
      best = std::move(next);
      best.lower_bound = lower;
      best.settings["micro_batch_tokens"] = size;
    }
    if (size >= total) break;
  }
  return best;
}

std::string Megatron::out_of_memory(const std::vector<Tokens>& sequences) const {
  return fits_at_none(sequences, context_.limit());
}

}  // namespace

bool megatron_knows(const SystemContext& context, int tensor, int group) {
  const int inside = std::min(tensor * group, context.devices_per_node);
  return group == 1 || inside == 1 || MegatronCost::inside_rate(context.profile, inside) > 0.0;
}

void throw_no_degrees(const char* system, int devices) {
  throw InputError(system, "no degrees for " + std::to_string(devices) + " devices",
                   "expected bandwidths in the profile's links", "add them to the profile");
}

std::vector<MegatronSetting> megatron_layouts(const SystemContext& context) {
  std::vector<MegatronSetting> layouts;
  const int n = context.devices;
  for (int t = 1; t <= std::min(n, context.devices_per_node); t *= 2) {
    if (t > 1 && MegatronCost::inside_rate(context.profile, t) <= 0.0) continue;
    const Collectives collectives(context.profile, std::max(1, context.devices_per_node / t));
    for (int p = 1; p <= context.layers && t * p <= n; ++p) {
      if (context.layers % p != 0 || n % (t * p) != 0) continue;
      const int ranks = n / (t * p);
      if (!collectives.knows(ranks)) continue;
      for (const int recompute : recompute_settings(context.layers / p))
        layouts.push_back({t, 1, p, ranks, recompute});
    }
  }
  return layouts;
}

std::vector<MegatronSetting> megatron_settings(const SystemContext& context) {
  std::vector<MegatronSetting> settings;
  for (const MegatronSetting& layout : megatron_layouts(context)) {
    for (int c = 1; c <= layout.data; c *= 2) {
      if (layout.data % c != 0 || !megatron_knows(context, layout.tensor, c)) continue;
      settings.push_back({layout.tensor, c, layout.stages, layout.data / c, layout.recompute});
    }
  }
  return settings;
}

std::unique_ptr<System> make_megatron(const SystemContext& context, MegatronOptions options) {
  if (options.settings.empty()) options.settings = megatron_settings(context);
  if (options.settings.empty()) throw_no_degrees(system_name::kMegatron, context.devices);
  std::vector<MegatronCost> costs;
  for (const MegatronSetting& setting : options.settings) costs.emplace_back(context, setting);
  return std::make_unique<Megatron>(context, std::move(costs));
}

}  // namespace infinipipe
