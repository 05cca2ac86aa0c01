#include "baselines/attention_balanced.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "baselines/megatron_lanes.h"
#include "baselines/static_system.h"
#include "baselines/systems.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kMost = 1 << 12;  // micro-batches

class AttentionBalanced final : public StaticSystem {
 public:
  AttentionBalanced(const SystemContext& context, std::vector<MegatronCost> costs)
      : StaticSystem(system_name::kAttentionBalanced, static_cast<int>(costs.size())),
        context_(context),
        costs_(std::move(costs)) {}

 private:
  SystemResult run_setting(int setting, const std::vector<Tokens>& sequences,
                           Seconds enough) const override;
  std::string out_of_memory(const std::vector<Tokens>& sequences) const override;

  SystemContext context_;
  std::vector<MegatronCost> costs_;
};

SystemResult AttentionBalanced::run_setting(int setting, const std::vector<Tokens>& sequences,
                                            Seconds enough) const {
  const MegatronCost& cost = costs_[static_cast<std::size_t>(setting)];
  const MegatronSetting& s = cost.setting();
  SystemResult best;
  best.status = SystemStatus::kOutOfMemory;
  best.seconds = kInfinity;
  const Bytes limit = context_.limit();
  if (limit > 0.0 && cost.fixed_bytes(0) > limit) return best;
  GroupLoad all = cost.no_load();
  for (const Tokens length : sequences) all.add(length);
  // No balancer cuts a sequence in time: the longest is in one micro-batch.
  GroupLoad longest = cost.no_load();
  longest.add(*std::max_element(sequences.begin(), sequences.end()));
  if (run_lanes(context_, s.stages, cost.group(), {{{&cost, longest}}}).status != SystemStatus::kOk)
    return best;
  const StepBound bound = step_bound(context_, cost, sequences);
  const Seconds lower = bound.seconds();
  best.lower_bound = lower;
  if (lower >= enough) {
    best.status = SystemStatus::kOk;
    return best;
  }
  // In steps of a quarter, as more micro-batches are a smaller bubble and more constants.
  for (int count = 1; count <= kMost && count <= all.tokens; count += std::max(1, count / 4)) {
    // What does not divide is left out: no balancer can be faster.
    GroupLoad part = all;
    part.token2 /= count;
    part.tokens /= count;
    part.sequences /= count;
    const Lane lane(static_cast<std::size_t>(count), {&cost, part});
    SystemResult next = run_lanes(context_, s.stages, cost.group(), {lane});
    if (next.status != SystemStatus::kOk) continue;
    next.seconds = std::max(next.seconds, bound.longest);
    if (next.seconds >= best.seconds) break;
    best = std::move(next);
    best.lower_bound = lower;
    best.settings = {{"tensor_parallel", s.tensor}, {"stages", s.stages},
                     {"ranks", s.context},          {"recomputed_layers", s.recompute},
                     {"micro_batches", count},      {"zero", 1}};
  }
  if (best.status == SystemStatus::kOk && best.seconds < kInfinity) {
    std::vector<int> everything(sequences.size());
    std::iota(everything.begin(), everything.end(), 0);
    best.micro_batches = {{{context_.devices, std::move(everything), best.seconds}}};
  }
  return best;
}

std::string AttentionBalanced::out_of_memory(const std::vector<Tokens>& sequences) const {
  return fits_at_none(sequences, context_.limit());
}

}  // namespace

std::unique_ptr<System> make_attention_balanced(const SystemContext& context) {
  std::vector<MegatronCost> costs;
  for (const MegatronSetting& layout : megatron_layouts(context)) {
    costs.emplace_back(
        context, MegatronSetting{layout.tensor, layout.data, layout.stages, 1, layout.recompute},
        false);
  }
  if (costs.empty()) throw_no_degrees(system_name::kAttentionBalanced, context.devices);
  return std::make_unique<AttentionBalanced>(context, std::move(costs));
}

}  // namespace infinipipe
