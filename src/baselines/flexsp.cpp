#include "baselines/flexsp.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "baselines/packing.h"
#include "baselines/static_system.h"
#include "baselines/systems.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class Flexsp final : public StaticSystem {
 public:
  Flexsp(const SystemContext& context, FlexspOptions options,
         std::vector<std::vector<DeviceGroupCost>> costs)
      : StaticSystem(system_name::kFlexsp, static_cast<int>(costs.size())),
        context_(context),
        options_(std::move(options)),
        costs_(std::move(costs)) {}

 private:
  struct Blast {
    std::vector<Bin> bins;                           // positions in the batch
    std::vector<std::vector<Tokens>> micro_batches;  // their lengths, descending
    std::vector<Seconds> bounds;
    bool fits = true;  // every token sum is below what the cluster holds

    Seconds bound() const { return std::accumulate(bounds.begin(), bounds.end(), 0.0); }
  };

  SystemResult run_setting(int setting, const std::vector<Tokens>& sequences,
                           Seconds enough) const override;
  std::string out_of_memory(const std::vector<Tokens>& sequences) const override;

  Blast blasted(const std::vector<DeviceGroupCost>& costs, const std::vector<Tokens>& sequences,
                int count) const;
  Tokens cluster_capacity(const std::vector<DeviceGroupCost>& costs) const {
    return costs.front().capacity() / costs.front().degree() * context_.devices;
  }
  SystemResult result_of(const std::vector<DeviceGroupCost>& costs,
                         const std::vector<FlexAssignment>& steps,
                         const std::vector<Bin>& bins) const;

  SystemContext context_;
  FlexspOptions options_;
  std::vector<std::vector<DeviceGroupCost>> costs_;  // by recomputation, then ascending degree
};

Flexsp::Blast Flexsp::blasted(const std::vector<DeviceGroupCost>& costs,
                              const std::vector<Tokens>& sequences, int count) const {
  Blast result;
  result.bins = blast(sequences, count);
  for (const Bin& bin : result.bins) {
    std::vector<Tokens> lengths;
    for (const int i : bin) lengths.push_back(sequences[static_cast<std::size_t>(i)]);
    const Tokens sum = std::accumulate(lengths.begin(), lengths.end(), Tokens{0});
    result.fits = result.fits && sum <= cluster_capacity(costs);
    result.micro_batches.push_back(std::move(lengths));
  }
  if (!result.fits) return result;
  for (const std::vector<Tokens>& lengths : result.micro_batches) {
    result.bounds.push_back(assignment_lower_bound(lengths, costs, context_.devices));
  }
  return result;
}

SystemResult Flexsp::run_setting(int setting, const std::vector<Tokens>& sequences,
                                 Seconds enough) const {
  const std::vector<DeviceGroupCost>& costs = costs_[static_cast<std::size_t>(setting)];
  SystemResult result;
  result.status = SystemStatus::kOutOfMemory;
  const Tokens longest = *std::max_element(sequences.begin(), sequences.end());
  const int n = static_cast<int>(sequences.size());
  if (longest > costs.back().capacity()) return result;
  result.lower_bound = kInfinity;

  const Tokens total = std::accumulate(sequences.begin(), sequences.end(), Tokens{0});
  const Tokens cluster_tokens = cluster_capacity(costs);
  int count = static_cast<int>(std::min<Tokens>(n, (total + cluster_tokens - 1) / cluster_tokens));
  Seconds best = enough;
  std::vector<FlexAssignment> chosen;
  std::vector<Bin> chosen_bins;
  int tried = 0;
  bool any = false;
  for (; count <= n && !(any && tried >= options_.micro_batch_options); ++count) {
    const Blast next = blasted(costs, sequences, count);
    if (!next.fits) continue;
    ++tried;
    Seconds bound = next.bound();
    if (best < kInfinity && bound >= best) {
      // Proven to be no faster than what there is.
      result.lower_bound = std::min(result.lower_bound, bound);
      any = true;
      continue;
    }
    Seconds seconds = 0.0;
    std::vector<FlexAssignment> steps;
    bool feasible = true;
    for (std::size_t m = 0; m < next.micro_batches.size() && feasible; ++m) {
      steps.push_back(
          assign_groups(next.micro_batches[m], costs, context_.devices, options_.limits));
      bound += steps.back().lower_bound - next.bounds[m];
      seconds += steps.back().seconds;
      feasible = steps.back().feasible;
    }
    result.lower_bound = std::min(result.lower_bound, bound);
    if (!feasible) continue;
    any = true;
    if (seconds < best) {
      best = seconds;
      chosen = std::move(steps);
      chosen_bins = next.bins;
    }
  }
  if (!any) return result;
  if (chosen.empty()) {
    result.status = SystemStatus::kOk;
    result.seconds = kInfinity;
    return result;
  }
  const Seconds bound = result.lower_bound;
  result = result_of(costs, chosen, chosen_bins);
  result.lower_bound = bound;
  return result;
}

SystemResult Flexsp::result_of(const std::vector<DeviceGroupCost>& costs,
                               const std::vector<FlexAssignment>& steps,
                               const std::vector<Bin>& bins) const {
  SystemResult result;
  Seconds busy = 0.0;  // device-seconds
  Bytes peak = 0.0;
  Json micro_batches = Json::array();
  bool optimal = true;
  for (std::size_t m = 0; m < steps.size(); ++m) {
    const FlexAssignment& step = steps[m];
    auto& shares = result.micro_batches.emplace_back();
    result.seconds += step.seconds;
    optimal = optimal && step.optimal;
    std::vector<int> degrees;
    int sequences = 0;
    for (const FlexGroup& group : step.groups) {
      const DeviceGroupCost& cost = costs[static_cast<std::size_t>(group.choice)];
      busy += cost.busy(group.load) * cost.degree();
      peak = std::max(peak, cost.peak_bytes(group.load));
      degrees.push_back(cost.degree());
      shares.push_back({cost.degree(), {}, cost.seconds(group.load)});
      for (const int member : group.members) {
        shares.back().sequences.push_back(bins[m][static_cast<std::size_t>(member)]);
      }
      sequences += group.load.sequences;
    }
    std::sort(degrees.rbegin(), degrees.rend());
    micro_batches.push_back({{"degrees", degrees},
                             {"sequences", sequences},
                             {"seconds", step.seconds},
                             {"lower_bound", step.lower_bound}});
  }
  result.bubble = 1.0 - busy / (context_.devices * result.seconds);
  result.peak_bytes = {peak};
  result.settings = {{"micro_batches", steps.size()},
                     {"groups", std::move(micro_batches)},
                     {"recomputed_layers", costs.front().recompute()},
                     {"zero", 3},
                     {"gathers", costs.front().gathers()},
                     {"optimal", optimal}};
  return result;
}

std::string Flexsp::out_of_memory(const std::vector<Tokens>& sequences) const {
  const Tokens longest = *std::max_element(sequences.begin(), sequences.end());
  Tokens most = 0;
  for (const auto& costs : costs_) most = std::max(most, costs.back().capacity());
  return name() + ": the longest sequence has " + format_count(longest) +
         " tokens, a group of any degree holds at most " + format_count(most);
}

}  // namespace

std::unique_ptr<System> make_flexsp(const SystemContext& context, FlexspOptions options) {
  if (options.recompute.empty()) options.recompute = recompute_settings(context.layers);
  std::vector<std::vector<DeviceGroupCost>> costs;
  for (const int recompute : options.recompute) {
    std::vector<DeviceGroupCost> row;
    for (const int degree : group_degrees(context, options.least_degree)) {
      row.emplace_back(context, degree, recompute);
    }
    if (row.empty()) {
      throw InputError(
          system_name::kFlexsp,
          "no degree of sequence parallelism for " + std::to_string(context.devices) + " devices",
          "expected one with a bandwidth in the profile's links.all_to_all",
          "add it to the profile");
    }
    costs.push_back(std::move(row));
  }
  return std::make_unique<Flexsp>(context, std::move(options), std::move(costs));
}

}  // namespace infinipipe
