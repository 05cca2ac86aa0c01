#include "baselines/deepspeed.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "baselines/device_group_cost.h"
#include "baselines/packing.h"
#include "baselines/static_system.h"
#include "baselines/systems.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

constexpr double kRoundingGuard = 1.0 - 1e-12;

struct Schedule {
  std::vector<std::vector<GroupShare>> steps;  // micro-steps of the groups that run at once
  Bytes peak = 0.0;
  Seconds seconds = 0.0;
  Seconds busy = 0.0;  // of one device of every group, summed
  std::string packing;
  Tokens capacity = 0;
};

class Deepspeed final : public StaticSystem {
 public:
  Deepspeed(const SystemContext& context, DeepspeedOptions options,
            std::vector<DeviceGroupCost> costs)
      : StaticSystem(system_name::kDeepspeed, static_cast<int>(costs.size())),
        context_(context),
        options_(std::move(options)),
        costs_(std::move(costs)) {}

 private:
  SystemResult run_setting(int setting, const std::vector<Tokens>& sequences,
                           Seconds enough) const override;
  std::string out_of_memory(const std::vector<Tokens>& sequences) const override;

  Seconds bound(const DeviceGroupCost& cost, const std::vector<Tokens>& sequences) const;
  Schedule schedule(const DeviceGroupCost& cost, const std::vector<Tokens>& sequences,
                    const std::vector<Bin>& bins) const;

  SystemContext context_;
  DeepspeedOptions options_;
  std::vector<DeviceGroupCost> costs_;
};

// A micro-step lasts at least as long as its groups on average; there are at least as many as the
// tokens need.
Seconds Deepspeed::bound(const DeviceGroupCost& cost, const std::vector<Tokens>& sequences) const {
  const int groups = context_.devices / cost.degree();
  GroupLoad all;
  Seconds work = 0.0;
  Seconds longest = 0.0;
  for (const Tokens length : sequences) {
    all.add(length);
    work += cost.sequence(length);
    longest = std::max(longest, cost.sequence(length));
  }
  const double steps = std::max(1.0, std::ceil(static_cast<double>(all.tokens) /
                                               static_cast<double>(cost.capacity()) / groups));
  return kRoundingGuard * std::max({work / groups + steps * cost.constant(),
                                    longest + cost.constant(), steps * cost.gather_seconds()});
}

Schedule Deepspeed::schedule(const DeviceGroupCost& cost, const std::vector<Tokens>& sequences,
                             const std::vector<Bin>& bins) const {
  struct Filled {
    GroupLoad load;
    const Bin* bin;
  };
  std::vector<Filled> filled;
  for (const Bin& bin : bins) {
    if (bin.empty()) continue;
    filled.push_back({cost.no_load(), &bin});
    for (const int i : bin) filled.back().load.add(sequences[static_cast<std::size_t>(i)]);
  }
  // Alike bins run together.
  std::stable_sort(filled.begin(), filled.end(), [&](const Filled& a, const Filled& b) {
    return cost.busy(a.load) > cost.busy(b.load);
  });
  const auto groups = static_cast<std::size_t>(context_.devices / cost.degree());
  Schedule result;
  for (std::size_t begin = 0; begin < filled.size(); begin += groups) {
    Seconds slowest = 0.0;
    auto& step = result.steps.emplace_back();
    for (std::size_t i = begin; i < std::min(filled.size(), begin + groups); ++i) {
      const GroupLoad& load = filled[i].load;
      step.push_back({cost.degree(), *filled[i].bin, cost.seconds(load)});
      slowest = std::max(slowest, step.back().seconds);
      result.busy += cost.busy(load);
      result.peak = std::max(result.peak, cost.peak_bytes(load));
    }
    result.seconds += slowest;
  }
  return result;
}

SystemResult Deepspeed::run_setting(int setting, const std::vector<Tokens>& sequences,
                                    Seconds enough) const {
  const DeviceGroupCost& cost = costs_[static_cast<std::size_t>(setting)];
  SystemResult result;
  const Tokens longest = *std::max_element(sequences.begin(), sequences.end());
  if (longest > cost.capacity()) {
    result.status = SystemStatus::kOutOfMemory;
    return result;
  }
  result.lower_bound = bound(cost, sequences);
  if (result.lower_bound >= enough) {
    result.seconds = std::numeric_limits<double>::infinity();
    return result;
  }
  Schedule best;
  best.seconds = std::numeric_limits<double>::infinity();
  const auto offer = [&](const std::vector<Bin>& bins, std::string packing, Tokens capacity) {
    Schedule next = schedule(cost, sequences, bins);
    if (next.seconds >= best.seconds) return;
    best = std::move(next);
    best.packing = std::move(packing);
    best.capacity = capacity;
  };
  const int groups = context_.devices / cost.degree();
  int least_steps = 0;
  for (const double fill : options_.fill) {
    const auto part = static_cast<Tokens>(fill * static_cast<double>(cost.capacity()));
    const Tokens capacity = std::max(part, longest);
    const std::vector<Bin> bins = best_fit_decreasing(sequences, capacity);
    const int steps = (static_cast<int>(bins.size()) + groups - 1) / groups;
    least_steps = least_steps == 0 ? steps : std::min(least_steps, steps);
    offer(bins, "best fit decreasing", capacity);
  }
  if (options_.balance) {
    for (int steps = least_steps; steps <= least_steps + 1; ++steps) {
      const std::vector<Bin> bins =
          balanced_bins(sequences, steps * groups, cost.capacity(),
                        [&](Tokens length) { return cost.sequence(length); });
      if (!bins.empty()) offer(bins, "balanced", cost.capacity());
    }
  }
  result.seconds = best.seconds;
  result.bubble = 1.0 - best.busy * cost.degree() / (context_.devices * best.seconds);
  result.peak_bytes = {best.peak};
  result.settings = {{"sequence_parallel", cost.degree()},
                     {"groups", groups},
                     {"micro_batches", best.steps.size()},
                     {"packing", best.packing},
                     {"bin_tokens", best.capacity},
                     {"recomputed_layers", cost.recompute()},
                     {"zero", 3},
                     {"gathers", cost.gathers()}};
  result.micro_batches = std::move(best.steps);
  return result;
}

std::string Deepspeed::out_of_memory(const std::vector<Tokens>& sequences) const {
  const Tokens longest = *std::max_element(sequences.begin(), sequences.end());
  Tokens most = 0;
  for (const DeviceGroupCost& cost : costs_) most = std::max(most, cost.capacity());
  return name() + ": the longest sequence has " + format_count(longest) +
         " tokens, a group of any degree holds at most " + format_count(most);
}

}  // namespace

std::unique_ptr<System> make_deepspeed(const SystemContext& context, DeepspeedOptions options) {
  if (options.degrees.empty()) options.degrees = group_degrees(context);
  if (options.recompute.empty()) options.recompute = recompute_settings(context.layers);
  std::vector<DeviceGroupCost> costs;
  for (const int degree : options.degrees) {
    for (const int recompute : options.recompute) costs.emplace_back(context, degree, recompute);
  }
  INFINIPIPE_ASSERT(!costs.empty(), "a system without a degree");
  return std::make_unique<Deepspeed>(context, std::move(options), std::move(costs));
}

}  // namespace infinipipe
