#include "infinipipe/cost/cost_model.h"

#include <string>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {

ChunkShape chunk_shape(const Chunk& chunk, const std::vector<Tokens>& sequences,
                       const std::vector<bool>& cut) {
  ChunkShape shape;
  shape.slices = static_cast<int>(chunk.slices.size());
  for (const Slice& slice : chunk.slices) {
    const auto begin = static_cast<double>(slice.begin);
    const auto end = static_cast<double>(slice.end);
    shape.token2 += end * end - begin * begin;
    shape.tokens += slice.tokens();
    if (!cut[slice.sequence.index()]) continue;
    shape.cut_tokens = slice.tokens();
    const Tokens whole = sequences[slice.sequence.index()];
    shape.cut_sequence_tokens = slice.end == whole ? whole : 0;
  }
  return shape;
}

CostModel::CostModel(Profile profile, Parallelism parallelism, std::vector<LayerRange> stages)
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
  const MemoryCost& memory = profile_.memory;
  activation_per_layer_token_ = memory.activation_bytes_per_token / total / degree;
  recompute_saves_per_token_ =
      (memory.activation_bytes_per_token / total - memory.input_bytes_per_token) / degree;
  kv_per_token_ = memory.kv_bytes_per_token / degree;
  kv_grad_per_token_ = memory.kv_grad_bytes_per_token / degree;
  transfer_per_token_ =
      profile_.links.p2p_bytes_per_token / degree / profile_.links.p2p_bytes_per_second;
  const double shards = memory.state_sharded_over_all
                            ? degree * parallelism_.stages * parallelism_.data_parallel
                            : degree;

  for (std::size_t p = 0; p < count; ++p) {
    const bool first = p == 0;
    const bool last = p + 1 == count;
    const double layers = stages_[p].count();
    StageCost cost;
    cost.forward = layers_cost(profile_.forward, layers);
    cost.backward = layers_cost(profile_.backward, layers);
    cost.layer_forward = layers_cost(profile_.forward, 1.0);
    const double weight = profile_.backward_weight_seconds_per_token >= 0.0
                              ? profile_.backward_weight_seconds_per_token
                              : 0.5 * profile_.backward.seconds_per_token;
    cost.weight_per_token = weight * layers / total / degree;
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
      for (Coefficients* c : {&cost.forward, &cost.backward, &cost.layer_forward}) {
        *c = {c->token2 / speed, c->token / speed, c->slice / speed, c->chunk / speed};
      }
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
}

CostModel::Coefficients CostModel::layers_cost(const DirectionCost& cost, double layers) const {
  const double degree = parallelism_.sequence_parallel;
  const double share = layers / total_layers();
  Coefficients result;
  result.token2 = cost.seconds_per_token2 * share / degree;
  result.token = cost.seconds_per_token * share / degree;
  result.slice = cost.seconds_per_slice * share / degree;
  result.chunk =
      cost.seconds_per_chunk * share / (profile_.seconds_per_chunk_divided ? degree : 1.0);
  if (parallelism_.sequence_parallel > 1) {
    const double bandwidth = profile_.links.all_to_all.at(parallelism_.sequence_parallel);
    result.token += profile_.links.all_to_all_bytes_per_token * share / degree / bandwidth;
  }
  return result;
}

}  // namespace infinipipe
