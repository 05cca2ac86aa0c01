// Random models with random plans of random batches.
#pragma once

#include <algorithm>

#include "core/head_shares.h"
#include "infinipipe/core/keeping.h"
#include "support/engine_case.h"
#include "support/random_plan.h"

namespace infinipipe::testing {

// A model, a valid plan of a batch, and the batch.
struct Case {
  ModelSpec model;
  Plan plan;
  Batch batch;
};

// Of half of the chunks any part of the layers that run again has another level than the input's.
inline void vary_keeping(Random& random, Replica& replica) {
  for (Pipeline& pipeline : replica.pipelines) {
    for (Chunk& chunk : pipeline.chunks) {
      if (random.between(0, 1) == 0) continue;
      for (Keeping& keeping : chunk.keeping) {
        for (const KeepLevel& level : kKeepLevels) {
          if (level.plan_field == nullptr) continue;
          const auto more = static_cast<int>(random.between(0, keeping[Keep::kInput]));
          keeping[level.keep] += more;
          keeping[Keep::kInput] -= more;
        }
      }
    }
  }
}

// 1 to 40 sequences of 1 to 3,000 tokens, mostly short; K from 1 to 8; for half of the models that
// may have one, a sliding window.
inline Case make_case(Random& random, int stages, int replicas) {
  Case c;
  RandomPlanOptions options;
  options.stages = stages;
  options.replicas = replicas;
  options.layers = options.stages + static_cast<int>(random.between(0, 2));
  options.max_slices = static_cast<int>(random.between(1, 8));
  options.cut_share = random.uniform();
  options.pack_share = random.uniform();
  options.split_share = 0.5 * static_cast<double>(random.between(0, 2));
  options.recompute = random.between(0, 3) > 0;

  const double kind = random.uniform();
  const std::int64_t most = kind < 0.75 ? 40 : 250;
  std::vector<Tokens> lengths = {random.between(2, most)};
  const std::int64_t count =
      kind < 0.75 ? std::min(random.between(1, 40), random.between(1, 40)) : random.between(1, 5);
  while (static_cast<std::int64_t>(lengths.size()) < count)
    lengths.push_back(random.between(1, most));
  if (kind > 0.95) lengths[0] = random.between(1000, 3000);
  random.shuffle(lengths);

  c.model = small_model(options.layers);
  c.model.tie_word_embeddings = random.between(0, 1) == 1;
  if (random.between(0, 1) == 1) c.model.num_key_value_heads = 2;
  c.plan = random_plan(random, lengths, options);
  for (Replica& replica : c.plan.replicas) vary_keeping(random, replica);
  c.batch = random_batch(random, lengths, c.model.vocab_size);
  if (random.between(0, 3) == 0) {
    for (const auto& tokens : c.batch.sequences) {
      auto& weights = c.batch.weights.emplace_back();
      if (random.between(0, 2) == 0) continue;
      for (std::size_t i = 0; i < tokens.size(); ++i)
        weights.push_back(static_cast<float>(random.between(0, 4)) / 2.0F);
    }
    if (c.batch.target_weight() == 0.0) c.batch.weights.clear();
  }
  c.model.family = kFamilies[static_cast<std::size_t>(random.between(0, 3))].value;
  c.model.rope.type = kRopeTypes[static_cast<std::size_t>(random.between(0, 4))].value;
  if (c.model.rope.type != RopeType::kDefault) c.model.rope.factor = 4.0;
  if (row_of(c.model.rope.type).original) c.model.rope.original_max_position_embeddings = 16;
  c.model.max_position_embeddings = 32;
  if (row_of(c.model.family).windows && random.between(0, 1) == 1) {
    c.model.sliding_window = random.between(1, most);
  }
  return c;
}

// Half of the chunks of whole sequences run in sub-groups of any size, dealt at random.
inline void deal_to_sub_groups(Random& random, Plan& plan) {
  const int shards = plan.parallelism.sequence_parallel;
  const std::vector<bool> cut = plan.cut_sequences();
  for (Replica& replica : plan.replicas) {
    for (Pipeline& pipeline : replica.pipelines) {
      for (Chunk& chunk : pipeline.chunks) {
        const auto degree = static_cast<int>(random.between(1, shards));
        if (degree == shards || shards % degree != 0 || chunk.kind != ChunkKind::kBatched) continue;
        if (std::any_of(chunk.slices.begin(), chunk.slices.end(),
                        [&](const Slice& each) { return cut[each.sequence.index()]; }))
          continue;
        chunk.degree = degree;
        chunk.groups.assign(static_cast<std::size_t>(shards / degree), 0);
        for (std::size_t i = 0; i < chunk.slices.size(); ++i)
          ++chunk.groups[static_cast<std::size_t>(random.between(0, shards / degree - 1))];
      }
    }
  }
}

// Of 1 to 4 stages, 1 to 4 shards and 1 or 2 replicas, at most 8 ranks; models of 2 to 7 heads of
// which 1 to 4 are of keys and values.
inline Case make_sharded_case(Random& random) {
  int stages = 0, shards = 0, replicas = 0;
  do {
    stages = static_cast<int>(random.between(1, 4));
    shards = static_cast<int>(random.between(1, 4));
    replicas = static_cast<int>(random.between(1, 2));
  } while (stages * shards * replicas > 8);
  Case c = make_case(random, stages, replicas);
  c.plan.parallelism.sequence_parallel = shards;
  deal_to_sub_groups(random, c.plan);
  HeadCounts heads;
  do {
    heads = {random.between(2, 7), random.between(1, 4)};
  } while (heads.query % heads.key_value != 0 || !heads_allow(heads, shards));
  c.model.head_dim = c.model.resolved_head_dim();
  c.model.num_attention_heads = heads.query;
  c.model.num_key_value_heads = heads.key_value;
  return c;
}

// Of 1 to 4 stages and 1 or 2 replicas.
inline Case make_case(Random& random) {
  const auto stages = static_cast<int>(random.between(1, 4));
  const auto replicas = static_cast<int>(random.between(1, 2));
  return make_case(random, stages, replicas);
}

}  // namespace infinipipe::testing
