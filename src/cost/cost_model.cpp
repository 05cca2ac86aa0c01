#include "infinipipe/cost/cost_model.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/attention_pairs.h"
#include "core/head_shares.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

// The shapes of the sub-groups that have slices, all of them whole sequences.
void add_parts(ChunkShape& shape, const Chunk& chunk, Tokens window) {
  shape.degree = chunk.degree;
  auto slice = chunk.slices.begin();
  for (const int count : chunk.groups) {
    if (count == 0) continue;
    ChunkShape part;
    part.slices = count;
    for (const auto end = slice + count; slice != end; ++slice) {
      part.token2 += attention_token2(0, slice->end, window);
      part.tokens += slice->tokens();
    }
    shape.parts.push_back(std::move(part));
  }
  const auto fullest = std::max_element(
      shape.parts.begin(), shape.parts.end(),
      [](const ChunkShape& a, const ChunkShape& b) { return a.tokens < b.tokens; });
  std::iter_swap(shape.parts.begin(), fullest);
}

}  // namespace

ChunkShape chunk_shape(const Chunk& chunk, const std::vector<Tokens>& sequences,
                       const std::vector<bool>& cut, Tokens window) {
  ChunkShape shape;
  shape.slices = static_cast<int>(chunk.slices.size());
  for (const Slice& slice : chunk.slices) {
    shape.token2 += attention_token2(slice.begin, slice.end, window);
    shape.tokens += slice.tokens();
    shape.context += attention_context(slice.begin, window);
    if (!cut[slice.sequence.index()]) continue;
    shape.cut_tokens = slice.tokens();
    const Tokens whole = sequences[slice.sequence.index()];
    shape.cut_sequence_tokens = slice.end == whole ? whole : 0;
  }
  if (chunk.degree > 0) add_parts(shape, chunk, window);
  return shape;
}

double state_shards(const MemoryCost& memory, const Parallelism& parallelism) {
  const double degree = parallelism.sequence_parallel;
  const double replicas = parallelism.data_parallel;
  const auto optimizer_over = [&](double copies) {
    return copies / (copies - memory.state_optimizer_share * (copies - 1.0));
  };
  switch (memory.state_sharding) {
    case StateSharding::kAll:
      return degree * parallelism.stages * replicas;
    case StateSharding::kOptimizer:
      return optimizer_over(degree * replicas);
    case StateSharding::kSequenceParallel:
      break;
  }
  return degree * optimizer_over(replicas);
}

std::vector<int> sub_group_degrees(const Profile& profile, int degree) {
  std::vector<int> degrees;
  for (int sub_group = 1; 2 * sub_group <= degree; ++sub_group) {
    if (degree % sub_group != 0) continue;
    if (sub_group > 1 && !profile.links.all_to_all.contains(sub_group)) continue;
    if (heads_allow(profile.heads, sub_group)) degrees.push_back(sub_group);
  }
  return degrees;
}

Profile profile_of_group(Profile profile, double layers, int degree) {
  MemoryCost& memory = profile.memory;
  if (degree == 1 || memory.attended_bytes_per_token == 0.0) return profile;
  const HeadCounts& heads = profile.heads;
  double more_queries = 0.0;  // than an even share, over it
  double more_keys = 0.0;
  if (heads.known() && heads_allow(heads, degree)) {
    const HeadShare most = head_share(heads, degree - 1, degree);
    const auto over = [&](std::int64_t own, std::int64_t all) {
      return static_cast<double>(own * degree) / static_cast<double>(all) - 1.0;
    };
    more_queries = over(most.query, heads.query);
    more_keys = over(most.key_value, heads.key_value);
  }
  // Queries and attention's output take as many bytes each.
  const double attention = memory.attended_bytes_per_token * (1.0 + more_queries);
  const double all = memory.attended_bytes_per_token * (1.0 + 2.0 * more_queries) +
                     memory.kv_bytes_per_token * more_keys;
  memory.activation_bytes_per_token += layers * all;
  memory.kv_bytes_per_token *= 1.0 + more_keys;
  memory.kv_grad_bytes_per_token *= 1.0 + more_keys;
  const auto keep_more = [&](Keep level, double bytes) {
    if (auto& remake = profile.remake[index_of(level)]) remake->kept_bytes_per_token += bytes;
  };
  keep_more(Keep::kAttention, attention);
  keep_more(Keep::kMlpInput, all);
  return profile;
}

namespace {

// Of one device of a group: what a token of the chunk takes, and how many of the chunk's tokens its
// block has.
LayerwiseMemory of_group(LayerwiseMemory memory, double degree) {
  for (double* per_token : {&memory.forward_bytes_per_token, &memory.backward_bytes_per_token,
                            &memory.pending_bytes_per_token, &memory.head_bytes_per_token,
                            &memory.head_block_bytes_per_token})
    *per_token /= degree;
  memory.head_block_tokens *= degree;
  return memory;
}

}  // namespace

CostModel::CostModel(Profile profile, Parallelism parallelism, std::vector<LayerRange> stages)
    : CostModel(std::move(profile), parallelism, std::move(stages), SubGroups::kAll) {}

CostModel::CostModel(Profile profile, Parallelism parallelism, std::vector<LayerRange> stages,
                     SubGroups sub_groups)
    : profile_(std::move(profile)), parallelism_(parallelism), stages_(std::move(stages)) {
  INFINIPIPE_ASSERT(!stages_.empty(), "a cost model needs at least one stage");
  const std::size_t count = stages_.size();
  if (!profile_.stage_speed.empty() && profile_.stage_speed.size() != count) {
    throw InputError("profile: stage_speed",
                     "found " + std::to_string(profile_.stage_speed.size()) + " speeds",
                     "expected one for each of the " + std::to_string(count) + " stages");
  }
  if (parallelism_.sequence_parallel > 1 &&
      !profile_.links.all_to_all.contains(parallelism_.sequence_parallel)) {
    const std::string degree = std::to_string(parallelism_.sequence_parallel);
    throw InputError("profile: links.all_to_all", "found no degree " + degree,
                     "expected its bytes per second",
                     "measure it, or choose another sequence_parallel");
  }

  const double degree = parallelism_.sequence_parallel;
  const double total = total_layers();
  const Profile group = profile_of_group(profile_, total, parallelism_.sequence_parallel);
  const MemoryCost& memory = group.memory;
  activation_per_layer_token_ = memory.activation_bytes_per_token / total / degree;
  recompute_saves_per_token_ =
      (memory.activation_bytes_per_token / total - memory.input_bytes_per_token) / degree;
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    if (!group.remake[i]) continue;
    beside_input_per_token_[i] = group.remake[i]->kept_bytes_per_token / degree;
  }
  kv_per_token_ = memory.kv_bytes_per_token / degree;
  kv_grad_per_token_ = memory.kv_grad_bytes_per_token / degree;
  message_per_token_ = profile_.links.p2p_bytes_per_token / degree;
  head_kept_per_token_ = memory.head_bytes_per_token / degree;
  transfer_per_token_ =
      profile_.links.p2p_bytes_per_token / degree / profile_.links.p2p_bytes_per_second;
  if (profile_.memory.layerwise) layerwise_ = of_group(*profile_.memory.layerwise, degree);
  const double shards = state_shards(memory, parallelism_);

  for (std::size_t p = 0; p < count; ++p) {
    const bool first = p == 0;
    const bool last = p + 1 == count;
    const double layers = stages_[p].count();
    StageCost cost;
    const double exchanged = profile_.links.all_to_all_bytes_per_token;
    cost.forward = layers_cost(profile_.forward, layers, exchanged);
    cost.backward = layers_cost(profile_.backward, layers, exchanged);
    for (std::size_t i = 0; i < kRemadeLevels; ++i) {
      cost.remake_layer[i] =
          layers_cost(profile_.remake[i] ? profile_.remake[i]->cost : profile_.forward, 1.0,
                      profile_.exchanged_again(kKeepLevels[i].keep, total) * total);
    }
    cost.weight_per_token = profile_.weight_seconds_per_token() * layers / total / degree;
    if (first) {
      cost.forward.token += profile_.embedding.forward_seconds_per_token / degree;
      cost.backward.token += profile_.embedding.backward_seconds_per_token / degree;
    }
    if (last) {
      const PerTokenPair& head = profile_.head;
      cost.forward.token += head.forward_seconds_per_token / degree;
      (profile_.head_in_forward ? cost.forward : cost.backward).token +=
          head.backward_seconds_per_token / degree;
    }
    if (!profile_.stage_speed.empty()) {
      const double speed = profile_.stage_speed[p];
      const auto slow = [&](Coefficients& c) {
        c = {c.token2 / speed, c.token / speed, c.slice / speed, c.chunk / speed,
             c.context / speed};
      };
      slow(cost.forward);
      slow(cost.backward);
      for (Coefficients& remake : cost.remake_layer) slow(remake);
      cost.weight_per_token /= speed;
    }
    cost.kept_per_token = memory.activation_bytes_per_token * (layers / total) / degree +
                          (last ? memory.head_bytes_per_token / degree : 0.0);
    cost.states =
        (layers * memory.state_bytes_per_layer + (first ? memory.state_embedding_bytes : 0.0) +
         (last ? memory.state_head_bytes : 0.0)) /
            shards +
        memory.state_constant_bytes;
    costs_.push_back(cost);
  }
  if (sub_groups == SubGroups::kNone) return;
  degrees_ = sub_group_degrees(profile_, parallelism_.sequence_parallel);
  for (const int sub_group : degrees_) {
    Parallelism own = parallelism_;
    own.sequence_parallel = sub_group;
    of_degrees_.push_back(CostModel(profile_, own, stages_, SubGroups::kNone));
  }
}

const CostModel& CostModel::of_degree(int degree) const {
  const auto found = std::lower_bound(degrees_.begin(), degrees_.end(), degree);
  INFINIPIPE_ASSERT(found != degrees_.end() && *found == degree, "a sub-group without a cost");
  return of_degrees_[static_cast<std::size_t>(found - degrees_.begin())];
}

Bytes CostModel::forward_temporary(StageId stage, const ChunkShape& chunk,
                                   const Keeping& keeping) const {
  return of_fullest(chunk, [&](const CostModel& group, const ChunkShape& part) {
    return group.own_forward_temporary(stage, part, keeping);
  });
}

Bytes CostModel::backward_temporary(StageId stage, const ChunkShape& chunk, const Keeping& keeping,
                                    Op op) const {
  return of_fullest(chunk, [&](const CostModel& group, const ChunkShape& part) {
    return group.own_backward_temporary(stage, part, keeping, op);
  });
}

Bytes CostModel::pending_bytes(StageId stage, const ChunkShape& chunk,
                               const Keeping& keeping) const {
  return of_fullest(chunk, [&](const CostModel& group, const ChunkShape& part) {
    return group.own_pending_bytes(stage, part, keeping);
  });
}

Bytes CostModel::temporary_bound(StageId stage, const ChunkShape& chunk) const {
  return of_fullest(chunk, [&](const CostModel& group, const ChunkShape& part) {
    return group.own_temporary_bound(stage, part);
  });
}

// The head holds logits of one block at a time.
Bytes CostModel::head_temporary(double tokens) const {
  const LayerwiseMemory& memory = layerwise_;
  return memory.head_bytes_per_token * tokens +
         memory.head_block_bytes_per_token * std::min(tokens, memory.head_block_tokens);
}

Bytes CostModel::own_forward_temporary(StageId stage, const ChunkShape& chunk,
                                       const Keeping& keeping) const {
  if (!layerwise()) return 0.0;
  const auto tokens = static_cast<double>(chunk.tokens);
  Bytes layer = layerwise_.forward_bytes_per_token * tokens;
  // Where the last layer runs again, all of its activations are there for a moment before they go.
  // Of layers before it the next ones take the place.
  if (const Keep last = keeping.of_layer(layers(stage) - 1); last != Keep::kAll) {
    const Bytes kv =
        level_of(last).keeps_kv ? 0.0 : kv_per_token_ * static_cast<double>(chunk.cut_tokens);
    layer += recompute_saves_per_token_ * tokens - kv;
    layer -= beside_input_per_token_[index_of(last)] * tokens;
  }
  if (!is_last(stage)) return layer;
  // What the head leaves is not there yet while layers run.
  return std::max({0.0, layer - head_kept_per_token_ * tokens, head_temporary(tokens)});
}

Bytes CostModel::own_backward_temporary(StageId stage, const ChunkShape& chunk,
                                        const Keeping& keeping, Op op) const {
  if (!layerwise()) return 0.0;
  const LayerwiseMemory& memory = layerwise_;
  const auto tokens = static_cast<double>(chunk.tokens);
  const auto cut = static_cast<double>(chunk.cut_tokens);
  const bool closes = chunk.cut_sequence_tokens > 0;
  // A layer's step: accumulators that it opens; its own, which take the place of gradients that it
  // would have to allocate, and go with it; its stored K and V, which go when its backward begins.
  const Bytes opens =
      closes ? kv_grad_per_token_ * (static_cast<double>(chunk.cut_sequence_tokens) - cut) : 0.0;
  const Bytes own_grads = closes ? 0.0 : kv_grad_per_token_ * cut;
  const Bytes own_kv = closes ? 0.0 : kv_per_token_ * cut;
  const Bytes kept = activation_per_layer_token_ * tokens;
  const Bytes input = kept - recompute_saves_per_token_ * tokens;
  const Bytes gradient = is_last(stage) ? 0.0 : message_per_token_ * tokens;  // the head's is kept
  const Bytes backward = memory.backward_bytes_per_token * tokens + memory.backward_bytes +
                         gradient + opens - own_grads;
  const Bytes forward = memory.forward_bytes_per_token * tokens + gradient;
  const Bytes pending = op == Op::kInputGrad ? memory.pending_bytes_per_token * tokens : 0.0;
  // From the last layer to the first, in runs of alike layers. Each run is linear in the layer, so
  // its ends have the most.
  Bytes held = 0.0;
  Bytes most = 0.0;
  const auto run = [&](int count, Bytes layer_most, Bytes layer_leaves) {
    if (count <= 0) return;
    most = std::max({most, held + layer_most, held + (count - 1) * layer_leaves + layer_most});
    held += count * layer_leaves;
  };
  run(layers(stage) - keeping.remade(), backward, opens - own_grads - kept + pending);
  for (std::size_t i = kRemadeLevels; i-- > 0;) {
    const Bytes stored = input + beside_input_per_token_[i] * tokens;
    const bool apart = !kKeepLevels[i].keeps_kv;
    const Bytes remake_bytes = std::max(forward, backward - (apart ? own_kv : 0.0));
    run(keeping.layers[i], (kept - stored) + remake_bytes,
        opens - own_grads - stored - (apart ? kv_per_token_ * cut : 0.0));
  }
  return most;
}

Bytes CostModel::own_pending_bytes(StageId stage, const ChunkShape& chunk,
                                   const Keeping& keeping) const {
  if (!layerwise()) return 0.0;
  return (layers(stage) - keeping.remade()) * layerwise_.pending_bytes_per_token *
         static_cast<double>(chunk.tokens);
}

Bytes CostModel::own_temporary_bound(StageId stage, const ChunkShape& chunk) const {
  if (!layerwise()) return 0.0;
  const LayerwiseMemory& memory = layerwise_;
  const auto tokens = static_cast<double>(chunk.tokens);
  const Bytes layer = std::max(memory.forward_bytes_per_token * tokens,
                               memory.backward_bytes_per_token * tokens + memory.backward_bytes) +
                      (is_last(stage) ? 0.0 : message_per_token_ * tokens);
  return is_last(stage) ? std::max(layer, head_temporary(tokens)) : layer;
}

CostModel::Coefficients CostModel::layers_cost(const DirectionCost& cost, double layers,
                                               double exchanged_per_token) const {
  const double degree = parallelism_.sequence_parallel;
  const double share = layers / total_layers();
  Coefficients result;
  result.token2 = cost.seconds_per_token2 * share / degree;
  result.token = cost.seconds_per_token * share / degree;
  result.slice = cost.seconds_per_slice * share / degree;
  result.context = cost.seconds_per_context_token * share / degree;
  result.chunk =
      cost.seconds_per_chunk * share / (profile_.seconds_per_chunk_divided ? degree : 1.0);
  if (parallelism_.sequence_parallel > 1) {
    const double bandwidth = profile_.links.all_to_all.at(parallelism_.sequence_parallel);
    result.token += exchanged_per_token * share / degree / bandwidth;
  }
  return result;
}

namespace {

// Throws InputError where a chunk's sub-groups have a size that the profile does not know.
void require_degrees(const Profile& profile, const Plan& plan) {
  const std::vector<int> known = sub_group_degrees(profile, plan.parallelism.sequence_parallel);
  for (const Replica& replica : plan.replicas) {
    for (const Pipeline& pipeline : replica.pipelines) {
      for (const Chunk& chunk : pipeline.chunks) {
        if (chunk.degree == 0 || std::binary_search(known.begin(), known.end(), chunk.degree))
          continue;
        const std::string refused = heads_refusal(profile.heads, chunk.degree);
        throw InputError(
            "profile: links.all_to_all",
            refused.empty() ? "found no degree " + std::to_string(chunk.degree) : refused,
            "expected what the plan's sub-groups of " + std::to_string(chunk.degree) +
                " ranks need",
            "use the profile that the plan was made with");
      }
    }
  }
}

}  // namespace

CostModel plan_cost(const Profile& profile, const Plan& plan) {
  const Plan::Recomputed recomputed = plan.recomputed();
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    const KeepLevel& level = kKeepLevels[i];
    if (recomputed.by_level[i] == 0 || profile.knows(level.keep)) continue;
    throw InputError("profile: " + std::string(level.profile_field), "found none",
                     "expected it, as the plan has " + std::to_string(recomputed.by_level[i]) +
                         " recomputed layers that keep their " + level.name,
                     "use the profile that the plan was made with");
  }
  if (const auto layers = profile.model.num_hidden_layers;
      layers > 0 && layers != plan.layer_count()) {
    throw InputError("plan", "found " + std::to_string(plan.layer_count()) + " layers",
                     "expected the " + std::to_string(layers) +
                         " that the profile's figures are for (its model.num_hidden_layers)",
                     "use the profile that the plan was made with");
  }
  if (const Tokens window = profile.model.sliding_window;
      window > 0 && plan.sliding_window > 0 && plan.sliding_window != window) {
    throw InputError("plan", "found a sliding window of " + std::to_string(plan.sliding_window),
                     "expected the " + std::to_string(window) +
                         " that the profile's figures are for (its model.sliding_window)",
                     "use the profile that the plan was made with");
  }
  require_degrees(profile, plan);
  Profile paced = at_pace(profile, plan.stage_pace);
  if (plan.sliding_window > 0) paced.sliding_window = plan.sliding_window;
  return CostModel(std::move(paced), plan.parallelism, plan.stages);
}

}  // namespace infinipipe
