// Random valid plans, made without the planner: sequences cut at random boundaries, packed at
// random, scheduled by a random walk over everything that could run next.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "base/random.h"
#include "infinipipe/core/plan.h"

namespace infinipipe::testing {

struct RandomPlanOptions {
  int stages = 2;
  int replicas = 1;    // sequences are dealt to them at random: one may have none
  int layers = 4;      // at least one a stage
  int max_slices = 4;  // K: most slices of one sequence
  int max_pipelines = 3;
  double cut_share = 0.5;    // of sequences long enough
  double pack_share = 0.6;   // of whole sequences that join a chunk rather than open one
  double split_share = 0.5;  // of backwards that are I and W
  bool recompute = true;
  bool evaluation = false;
};

namespace random_plan_detail {

inline std::vector<LayerRange> split_layers(Random& random, int layers, int stages) {
  std::vector<int> cuts;
  for (int i = 1; i < layers; ++i) cuts.push_back(i);
  random.shuffle(cuts);
  cuts.resize(static_cast<std::size_t>(stages - 1));
  cuts.push_back(0);
  cuts.push_back(layers);
  std::sort(cuts.begin(), cuts.end());
  std::vector<LayerRange> ranges;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) ranges.push_back({cuts[i], cuts[i + 1]});
  return ranges;
}

inline std::vector<Slice> cut_sequence(Random& random, SequenceId id, Tokens length, int slices) {
  std::vector<Tokens> bounds = {0, length};
  while (static_cast<int>(bounds.size()) < slices + 1) {
    const Tokens bound = random.between(1, length - 1);
    if (std::find(bounds.begin(), bounds.end(), bound) == bounds.end()) bounds.push_back(bound);
  }
  std::sort(bounds.begin(), bounds.end());
  std::vector<Slice> result;
  for (std::size_t i = 0; i + 1 < bounds.size(); ++i)
    result.push_back({id, bounds[i], bounds[i + 1]});
  return result;
}

// Merges lists at random, each in its own order.
template <class T>
std::vector<T> interleave(Random& random, const std::vector<std::vector<T>>& lists) {
  std::vector<std::size_t> turns;
  for (std::size_t i = 0; i < lists.size(); ++i) turns.insert(turns.end(), lists[i].size(), i);
  random.shuffle(turns);
  std::vector<std::size_t> next(lists.size(), 0);
  std::vector<T> merged;
  for (const std::size_t i : turns) merged.push_back(lists[i][next[i]++]);
  return merged;
}

inline Pipeline make_pipeline(Random& random, const std::vector<SequenceId>& sequences,
                              const std::vector<Tokens>& lengths,
                              const std::vector<LayerRange>& stages,
                              const RandomPlanOptions& options) {
  Pipeline pipeline;
  std::vector<std::vector<Chunk>> runs;  // chunks that must stay in order among themselves
  std::vector<std::size_t> open;         // runs whose last chunk can take whole sequences
  std::vector<SequenceId> whole;
  for (const SequenceId id : sequences) {
    const Tokens length = lengths[id.index()];
    const auto most = static_cast<int>(std::min<Tokens>(length, options.max_slices));
    if (most < 2 || random.uniform() >= options.cut_share) {
      whole.push_back(id);
      continue;
    }
    const int slices = static_cast<int>(random.between(2, most));
    pipeline.warmup_slices = std::max(pipeline.warmup_slices, slices);
    open.push_back(runs.size());
    auto& run = runs.emplace_back();
    for (const Slice& slice : cut_sequence(random, id, length, slices))
      run.push_back({ChunkKind::kSplit, {slice}, {}});
  }
  for (const SequenceId id : whole) {
    const Slice slice{id, 0, lengths[id.index()]};
    if (!open.empty() && random.uniform() < options.pack_share) {
      const auto pick = random.between(0, static_cast<std::int64_t>(open.size()) - 1);
      Chunk& chunk = runs[open[static_cast<std::size_t>(pick)]].back();
      if (chunk.kind == ChunkKind::kSplit) chunk.kind = ChunkKind::kHybrid;
      chunk.slices.push_back(slice);
    } else {
      open.push_back(runs.size());
      runs.push_back({{ChunkKind::kBatched, {slice}, {}}});
    }
  }
  pipeline.chunks = interleave(random, runs);
  for (Chunk& chunk : pipeline.chunks) {
    for (const LayerRange& stage : stages) {
      chunk.keeping.push_back(
          Keeping::of(Keep::kInput,
                      options.recompute ? static_cast<int>(random.between(0, stage.count())) : 0));
    }
  }
  if (options.evaluation) return pipeline;
  // Backward: each cut sequence's chunks in reverse, all else anywhere.
  std::vector<std::vector<int>> reversed(lengths.size());
  for (int c = static_cast<int>(pipeline.chunks.size()); c-- > 0;) {
    const Chunk& chunk = pipeline.chunks[static_cast<std::size_t>(c)];
    reversed[chunk.slices[0].sequence.index()].push_back(c);
  }
  pipeline.backward = interleave(random, reversed);
  return pipeline;
}

// What all stages agree on: the order of forwards and of backwards over all pipelines.
struct Orders {
  std::vector<Instruction> forward;
  std::vector<Instruction> backward;
};

inline Orders make_orders(Random& random, const std::vector<Pipeline>& pipelines) {
  std::vector<std::vector<Instruction>> forward(pipelines.size());
  std::vector<std::vector<Instruction>> backward(pipelines.size());
  for (std::size_t q = 0; q < pipelines.size(); ++q) {
    for (std::size_t c = 0; c < pipelines[q].chunks.size(); ++c)
      forward[q].push_back({Op::kForward, PipelineId(q), ChunkId(c)});
    for (const int c : pipelines[q].backward)
      backward[q].push_back({Op::kBackward, PipelineId(q), ChunkId(c)});
  }
  return {interleave(random, forward), interleave(random, backward)};
}

// Lets a random stage do a random one of the things that it could do, until all is done.
inline std::vector<std::vector<Instruction>> schedule(Random& random, const Orders& orders,
                                                      const RandomPlanOptions& options) {
  const auto stages = static_cast<std::size_t>(options.stages);
  std::vector<std::vector<Instruction>> lists(stages);
  std::vector<std::size_t> forwards(stages, 0);
  std::vector<std::size_t> backwards(stages, 0);
  std::vector<std::vector<Instruction>> weights(stages);  // W that could run
  const double forward_share = random.uniform();          // eager forwards or eager backwards
  const auto forward_done = [&](std::size_t p, const Instruction& i) {
    return std::any_of(
        orders.forward.begin(), orders.forward.begin() + static_cast<std::ptrdiff_t>(forwards[p]),
        [&](const Instruction& f) { return f.pipeline == i.pipeline && f.chunk == i.chunk; });
  };
  for (std::size_t left = stages; left > 0;) {
    const auto p =
        static_cast<std::size_t>(random.between(0, static_cast<std::int64_t>(stages) - 1));
    const bool can_forward =
        forwards[p] < orders.forward.size() && (p == 0 || forwards[p - 1] > forwards[p]);
    const bool can_backward = backwards[p] < orders.backward.size() &&
                              (p + 1 == stages || backwards[p + 1] > backwards[p]) &&
                              forward_done(p, orders.backward[backwards[p]]);
    const bool can_weight = !weights[p].empty();
    if (can_weight && (random.uniform() < 0.2 || (!can_forward && !can_backward))) {
      const auto pick = random.between(0, static_cast<std::int64_t>(weights[p].size()) - 1);
      lists[p].push_back(weights[p][static_cast<std::size_t>(pick)]);
      weights[p].erase(weights[p].begin() + static_cast<std::ptrdiff_t>(pick));
    } else if (can_forward && (!can_backward || random.uniform() < forward_share)) {
      lists[p].push_back(orders.forward[forwards[p]++]);
    } else if (can_backward) {
      Instruction i = orders.backward[backwards[p]++];
      if (random.uniform() < options.split_share) {
        weights[p].push_back({Op::kWeightGrad, i.pipeline, i.chunk});
        i.op = Op::kInputGrad;
      }
      lists[p].push_back(i);
    }
    left = 0;
    for (std::size_t s = 0; s < stages; ++s) {
      const bool done = forwards[s] == orders.forward.size() &&
                        backwards[s] == orders.backward.size() && weights[s].empty();
      left += done ? 0 : 1;
    }
  }
  return lists;
}

inline Replica random_replica(Random& random, const std::vector<SequenceId>& share,
                              const Plan& plan, const RandomPlanOptions& options) {
  std::vector<std::vector<SequenceId>> members(
      static_cast<std::size_t>(random.between(1, options.max_pipelines)));
  for (const SequenceId id : share) {
    const auto q = random.between(0, static_cast<std::int64_t>(members.size()) - 1);
    members[static_cast<std::size_t>(q)].push_back(id);
  }
  Replica replica;
  for (auto& sequences : members) {
    if (sequences.empty()) continue;
    random.shuffle(sequences);
    replica.pipelines.push_back(
        make_pipeline(random, sequences, plan.sequences, plan.stages, options));
  }
  if (replica.pipelines.empty()) {
    replica.instructions.resize(plan.stages.size());
  } else {
    replica.instructions = schedule(random, make_orders(random, replica.pipelines), options);
  }
  return replica;
}

}  // namespace random_plan_detail

// A plan for the lengths (each >= 1) that validate() accepts.
inline Plan random_plan(Random& random, const std::vector<Tokens>& lengths,
                        const RandomPlanOptions& options) {
  namespace detail = random_plan_detail;
  Plan plan;
  plan.planner.name = "random";
  plan.planner.slices = options.max_slices;
  plan.sequences = lengths;
  plan.parallelism.stages = options.stages;
  plan.parallelism.data_parallel = options.replicas;
  plan.stages = detail::split_layers(random, options.layers, options.stages);
  std::vector<std::vector<SequenceId>> shares(static_cast<std::size_t>(options.replicas));
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto r = options.replicas > 1 ? random.between(0, options.replicas - 1) : 0;
    shares[static_cast<std::size_t>(r)].push_back(SequenceId(i));
  }
  for (const auto& share : shares)
    plan.replicas.push_back(detail::random_replica(random, share, plan, options));
  return plan;
}

}  // namespace infinipipe::testing
