#include "baselines/device_group_cost.h"

#include <algorithm>
#include <cmath>

#include "baselines/collectives.h"
#include "core/head_shares.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

constexpr Tokens kNoLimit = Tokens{1} << 50;

// All devices alike, all layers on one stage, no model states (they are counted here).
CostModel whole_model(const SystemContext& context, int degree, bool exchanges) {
  Profile profile = context.profile;
  // Synchronous groups wait for the slowest device.
  double speed = 1.0;
  if (!profile.stage_speed.empty()) {
    speed = *std::min_element(profile.stage_speed.begin(), profile.stage_speed.end());
  }
  profile.stage_speed = {speed};
  if (!exchanges) profile.links.all_to_all_bytes_per_token = 0.0;
  // As step_overhead() counts it for pipelines.
  const double longer = head_imbalance(profile.heads, degree);
  for (DirectionCost* cost : {&profile.forward, &profile.backward}) {
    cost->seconds_per_token2 *= longer;
    cost->seconds_per_context_token *= longer;
  }
  return CostModel(std::move(profile), {1, degree, std::max(1, context.devices / degree)},
                   {{0, context.layers}});
}

struct Line {
  double token2 = 0.0;
  double token = 0.0;
  double slice = 0.0;
  double constant = 0.0;
};

// The coefficients of a cost that is linear in a chunk's shape and has no constant.
template <class Cost>
Line line_of(const Cost& cost) {
  const ChunkShape none;
  ChunkShape token2;
  token2.token2 = 1.0;
  ChunkShape token;
  token.tokens = 1;
  ChunkShape slice;
  slice.slices = 1;
  return {cost(token2), cost(token), cost(slice), cost(none)};
}

}  // namespace

DeviceGroupCost::DeviceGroupCost(const SystemContext& context, int degree, int recompute)
    : degree_(degree), recompute_(recompute), window_(context.profile.sliding_window) {
  INFINIPIPE_ASSERT(degree >= 1 && recompute >= 0 && recompute <= context.layers,
                    "a group of no devices or of too many recomputed layers");
  const StageId stage;
  const Keeping again = Keeping::of(Keep::kInput, recompute);
  const Profile& profile = context.profile;
  const auto lines = [&](bool exchanges) {
    SystemContext plain = context;
    plain.profile.forward.seconds_per_chunk = 0.0;
    plain.profile.backward.seconds_per_chunk = 0.0;
    for (auto& remake : plain.profile.remake) {
      if (remake) remake->cost.seconds_per_chunk = 0.0;
    }
    const CostModel without = whole_model(plain, degree, exchanges);
    const CostModel with = whole_model(context, degree, exchanges);
    Line forward = line_of([&](const ChunkShape& s) { return without.forward(stage, s); });
    Line backward = line_of([&](const ChunkShape& s) {
      return without.backward(stage, s) + without.recompute(stage, s, again);
    });
    forward.constant = with.forward(stage, {});
    backward.constant = with.backward(stage, {}) + with.recompute(stage, {}, again);
    return std::pair(forward, backward);
  };
  const auto [forward, backward] = lines(true);
  forward_token2_ = forward.token2;
  forward_token_ = forward.token;
  forward_slice_ = forward.slice;
  forward_constant_ = forward.constant;
  token2_ = forward.token2 + backward.token2;
  token_ = forward.token + backward.token;
  slice_ = forward.slice + backward.slice;
  constant_ = forward.constant + backward.constant;
  if (degree > context.devices_per_node) {
    const auto [plain_forward, plain_backward] = lines(false);
    exchange_forward_token_ = forward.token - plain_forward.token;
    exchange_backward_token_ = backward.token - plain_backward.token;
  }

  const Collectives collectives(profile, context.devices_per_node);
  const MemoryCost& memory = profile.memory;
  const Bytes states = context.layers * memory.state_bytes_per_layer +
                       memory.state_embedding_bytes + memory.state_head_bytes;
  gather_forward_ = collectives.all_gather(states * kWeightShare, context.devices);
  gather_backward_ =
      gather_forward_ + collectives.reduce_scatter(states * kGradientShare, context.devices);

  fixed_ = states / context.devices + memory.state_constant_bytes + memory.workspace_bytes;
  if (gather_forward_ > 0.0) {
    // The layer that runs and the next one are there whole.
    fixed_ += kWeightShare * std::max({2.0 * memory.state_bytes_per_layer,
                                       memory.state_embedding_bytes, memory.state_head_bytes});
  }
  if (gather_forward_ > 0.0) gathers_ = context.overlap_gathers ? "overlapped" : "waited for";
  if (!context.overlap_gathers) {
    constant_ += gather_forward_ + gather_backward_;
    forward_constant_ += gather_forward_;
    gather_forward_ = gather_backward_ = 0.0;
  }
  ChunkShape token;
  token.tokens = 1;
  const CostModel model = whole_model(context, degree, true);
  bytes_per_token_ = model.activation_bytes(stage, token, again) +
                     (recompute > 0 ? model.recompute_workspace_bytes(stage, token) : 0.0);
  // Temporaries of profiles that count layer by layer: at most their constant and their steepest
  // rise, which a very long chunk shows.
  ChunkShape long_chunk;
  long_chunk.tokens = Tokens{1} << 24;
  fixed_ += model.temporary_bound(stage, {});
  bytes_per_token_ +=
      model.temporary_bound(stage, long_chunk) / static_cast<double>(long_chunk.tokens);
  const Bytes limit = context.limit();
  if (limit <= 0.0 || bytes_per_token_ <= 0.0) {
    capacity_ = kNoLimit;
  } else {
    const double per_device = std::floor((limit - fixed_) / (bytes_per_token_ * degree));
    capacity_ = per_device < 1.0 ? 0 : std::min(kNoLimit, static_cast<Tokens>(per_device) * degree);
  }
}

Seconds DeviceGroupCost::seconds(const GroupLoad& load) const {
  const Seconds whole = busy(load);
  if (gather_backward_ <= 0.0) return whole;
  const auto tokens = static_cast<double>(load.tokens);
  const Seconds forward = forward_token2_ * load.token2 + forward_token_ * tokens +
                          forward_slice_ * load.sequences + forward_constant_;
  return std::max(forward, gather_forward_ + exchange_forward_token_ * tokens) +
         std::max(whole - forward, gather_backward_ + exchange_backward_token_ * tokens);
}

Bytes DeviceGroupCost::peak_bytes(const GroupLoad& load) const {
  return fixed_ + bytes_per_token_ * static_cast<double>(load.tokens);
}

std::vector<int> group_degrees(const SystemContext& context, int least) {
  std::vector<int> degrees;
  for (int degree = 1; degree <= context.devices; degree *= 2) {
    if (degree < least || context.devices % degree != 0) continue;
    if (degree > 1 && !context.profile.links.all_to_all.contains(degree)) continue;
    degrees.push_back(degree);
  }
  return degrees;
}

std::vector<int> recompute_settings(int layers) {
  std::vector<int> settings;
  for (int quarter = 0; quarter <= 4; ++quarter) {
    const int count = layers * quarter / 4;
    if (settings.empty() || settings.back() != count) settings.push_back(count);
  }
  return settings;
}

}  // namespace infinipipe
