#include "baselines/megatron_cost.h"

#include <algorithm>

#include "baselines/collectives.h"

namespace infinipipe {

namespace {

CostModel stage_model(const SystemContext& context, const MegatronSetting& setting) {
  Profile profile = context.profile;
  double speed = 1.0;
  if (!profile.stage_speed.empty()) {
    speed = *std::min_element(profile.stage_speed.begin(), profile.stage_speed.end());
  }
  profile.stage_speed.assign(static_cast<std::size_t>(setting.stages), speed);
  const int group = setting.tensor * setting.context;
  // No all-to-all here, and states are counted apart.
  profile.links.all_to_all_bytes_per_token = 0.0;
  profile.links.all_to_all[group] = 1.0;
  std::vector<LayerRange> stages;
  const int layers = context.layers / setting.stages;
  for (int p = 0; p < setting.stages; ++p) stages.push_back({p * layers, (p + 1) * layers});
  return CostModel(std::move(profile), {setting.stages, group, setting.data}, std::move(stages));
}

ChunkShape shape_of(const GroupLoad& load) {
  ChunkShape shape;
  shape.token2 = load.token2;
  shape.tokens = load.tokens;
  shape.slices = load.sequences;
  return shape;
}

}  // namespace

double MegatronCost::inside_rate(const Profile& profile, int degree) {
  if (const auto found = profile.links.all_gather.find(degree);
      found != profile.links.all_gather.end()) {
    return found->second;
  }
  // Of what a device hands to an all-to-all, (degree - 1)/degree leaves it.
  if (const auto found = profile.links.all_to_all.find(degree);
      found != profile.links.all_to_all.end()) {
    return found->second * (degree - 1) / degree;
  }
  return 0.0;
}

MegatronCost::MegatronCost(const SystemContext& context, const MegatronSetting& setting, bool ring)
    : setting_(setting), model_(stage_model(context, setting)), total_layers_(context.layers) {
  const Profile& profile = context.profile;
  const MemoryCost& memory = profile.memory;
  const int t = setting.tensor;
  const int c = setting.context;
  if (t > 1) {
    tensor_per_token_ =
        4.0 * memory.input_bytes_per_token / c * (t - 1) / t / inside_rate(profile, t);
  }
  if (ring && c > 1) {
    // Rings of a node's tensor ranks cross to the next node side by side.
    double rate = inside_rate(profile, std::min(t * c, context.devices_per_node));
    if (t * c > context.devices_per_node) {
      const double across =
          profile.links.p2p_bytes_per_second * std::max(1.0, 1.0 * context.devices_per_node / t);
      rate = rate > 0.0 ? std::min(rate, across) : across;
    }
    ring_forward_per_token_ = memory.kv_bytes_per_token / c / t / rate;
    ring_backward_per_token_ =
        (memory.kv_bytes_per_token + memory.kv_grad_bytes_per_token) / c / t / rate;
    const double share = 1.0 * context.layers * t * c * c;
    attention_forward_ = profile.forward.seconds_per_token2 / share;
    attention_backward_ = profile.backward.seconds_per_token2 / share;
  }

  const int sharers = setting.data * c;
  const int stage_layers = context.layers / setting.stages;
  const Collectives collectives(profile, std::max(1, context.devices_per_node / t));
  Bytes most = 0.0;
  for (int p = 0; p < setting.stages; ++p) {
    const Bytes states = (stage_layers * memory.state_bytes_per_layer +
                          (p == 0 ? memory.state_embedding_bytes : 0.0) +
                          (p + 1 == setting.stages ? memory.state_head_bytes : 0.0)) /
                         t;
    fixed_.push_back(states * (kWeightShare + kGradientShare + kOptimizerShare / sharers) +
                     memory.state_constant_bytes + memory.workspace_bytes);
    most = std::max(most, states);
  }
  reduce_ = collectives.reduce_scatter(most * kGradientShare, sharers);
  gather_ = collectives.all_gather(most * kWeightShare, sharers);
}

Seconds MegatronCost::tensor_seconds(const GroupLoad& load) const {
  return tensor_per_token_ * static_cast<double>(load.tokens);
}

Seconds MegatronCost::ring_seconds(const GroupLoad& load, bool backward) const {
  const auto tokens = static_cast<double>(load.tokens);
  const Seconds block = (backward ? attention_backward_ : attention_forward_) * load.token2;
  const Seconds sent = (backward ? ring_backward_per_token_ : ring_forward_per_token_) * tokens;
  return (setting_.context - 1) * std::max(0.0, sent - block);
}

ChunkCost MegatronCost::chunk(int stage, const GroupLoad& load) const {
  const StageId id(stage);
  const ChunkShape shape = shape_of(load);
  const int layers = model_.layers(id);
  const int recompute = std::min(setting_.recompute, layers);
  const Seconds forward_waits = tensor_seconds(load) + ring_seconds(load, false);
  ChunkCost cost;
  cost.forward = model_.forward(id, shape) + layers * forward_waits;
  cost.backward = model_.backward(id, shape) +
                  layers * (tensor_seconds(load) + ring_seconds(load, true)) +
                  recompute * (model_.recompute_layer(id, shape, Keep::kInput) + forward_waits);
  cost.activations = model_.activation_bytes(id, shape, Keeping::of(Keep::kInput, recompute));
  cost.forward_workspace = model_.temporary_bound(id, shape);
  cost.workspace =
      cost.forward_workspace + (recompute > 0 ? model_.recompute_workspace_bytes(id, shape) : 0.0);
  return cost;
}

Seconds MegatronCost::message(const GroupLoad& load) const { return model_.transfer(load.tokens); }

Seconds MegatronCost::least(const GroupLoad& load) const {
  const ChunkShape shape = shape_of(load);
  Seconds sum = 2.0 * total_layers_ * tensor_seconds(load);
  for (int p = 0; p < setting_.stages; ++p) {
    const StageId id(p);
    sum += model_.forward(id, shape) + model_.backward(id, shape) +
           std::min(setting_.recompute, model_.layers(id)) *
               (model_.recompute_layer(id, shape, Keep::kInput) + tensor_seconds(load));
  }
  return sum;
}

Seconds MegatronCost::step_overhead(Seconds last_backward, Seconds first_forward) const {
  return std::max(0.0, reduce_ - last_backward) + std::max(0.0, gather_ - first_forward);
}

Bytes MegatronCost::fixed_bytes(int stage) const { return fixed_[static_cast<std::size_t>(stage)]; }

}  // namespace infinipipe
