// Random valid plans and machines: not good ones, but of every shape that a plan may have.
#pragma once

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/random.h"
#include "infinipipe/base/json.h"
#include "infinipipe/core/plan.h"
#include "support/keeping.h"

namespace infinipipe::testing {

enum class BackwardKind { kWhole, kSplit, kMixed, kNone };

struct RandomShape {
  int stages = 2;
  int layers = 4;
  int sequence_parallel = 1;
  int replicas = 1;
  int pipelines = 1;  // per replica, at most
  int sequences = 8;
  Tokens longest = 200;
  int slices = 4;  // of one sequence, at most
  BackwardKind backward = BackwardKind::kMixed;
};

inline RandomShape random_shape(Random& random) {
  RandomShape shape;
  shape.stages = static_cast<int>(random.between(1, 6));
  shape.layers = shape.stages + static_cast<int>(random.between(0, 8));
  shape.sequence_parallel = 1 << random.between(0, 2);
  shape.replicas = random.between(0, 3) == 0 ? 2 : 1;
  shape.pipelines = static_cast<int>(random.between(1, 3));
  shape.sequences = static_cast<int>(random.between(1, 24));
  shape.longest = random.between(2, 2000);
  shape.slices = static_cast<int>(random.between(1, 6));
  shape.backward = static_cast<BackwardKind>(random.between(0, 3));
  return shape;
}

inline int pick(Random& random, int low, int high) {
  return static_cast<int>(random.between(low, high));
}

// Cut points of a sequence of n tokens in at most `most` slices.
inline std::vector<Slice> random_slices(Random& random, SequenceId sequence, Tokens n, int most) {
  std::vector<Tokens> cuts = {0, n};
  const int count = random.between(0, 1) == 0 ? 1 : pick(random, 1, most);
  for (int i = 1; i < count; ++i) cuts.push_back(random.between(0, n));
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  std::vector<Slice> slices;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
    slices.push_back({sequence, cuts[i], cuts[i + 1]});
  return slices;
}

// Repeatedly takes the first element of a random one of the lists.
template <class T>
std::vector<T> interleave(Random& random, std::vector<std::vector<T>> lists) {
  std::vector<T> result;
  std::vector<std::size_t> at(lists.size(), 0);
  while (true) {
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < lists.size(); ++i) {
      if (at[i] < lists[i].size()) open.push_back(i);
    }
    if (open.empty()) return result;
    const std::size_t i = open[static_cast<std::size_t>(
        random.between(0, static_cast<std::int64_t>(open.size()) - 1))];
    result.push_back(lists[i][at[i]++]);
  }
}

inline Pipeline random_pipeline(Random& random, const Plan& plan, std::vector<int> members,
                                const RandomShape& shape) {
  std::vector<std::vector<Chunk>> cut_chunks;
  std::vector<Slice> shorts;
  int longest = 1;
  for (const int s : members) {
    const auto slices = random_slices(random, SequenceId(s),
                                      plan.sequences[static_cast<std::size_t>(s)], shape.slices);
    longest = std::max(longest, static_cast<int>(slices.size()));
    if (slices.size() == 1) {
      shorts.push_back(slices[0]);
      continue;
    }
    auto& chunks = cut_chunks.emplace_back();
    for (const Slice& slice : slices) chunks.push_back({ChunkKind::kSplit, {slice}, {}});
  }
  std::vector<std::vector<Chunk>> batched;
  for (const Slice& slice : shorts) {
    const int where = pick(random, 0, 2);
    if (where == 0 && !cut_chunks.empty()) {
      Chunk& tail = cut_chunks[static_cast<std::size_t>(
                                   pick(random, 0, static_cast<int>(cut_chunks.size()) - 1))]
                        .back();
      tail.kind = ChunkKind::kHybrid;
      tail.slices.push_back(slice);
    } else if (where == 1 && !batched.empty()) {
      batched.back()[0].slices.push_back(slice);
    } else {
      batched.push_back({{ChunkKind::kBatched, {slice}, {}}});
    }
  }
  for (auto& chunk : batched) cut_chunks.push_back(chunk);
  Pipeline pipeline;
  pipeline.warmup_slices = longest;
  pipeline.chunks = interleave(random, cut_chunks);
  const int often = pick(random, 0, 2);
  for (Chunk& chunk : pipeline.chunks) {
    for (const LayerRange& stage : plan.stages) {
      chunk.keeping.push_back(
          inputs(pick(random, 0, 2) < often ? pick(random, 0, stage.count()) : 0));
    }
  }
  if (shape.backward == BackwardKind::kNone) return pipeline;
  // Each sequence's slices in reverse, sequences mixed.
  std::vector<std::vector<int>> reverse(plan.sequences.size());
  for (int c = static_cast<int>(pipeline.chunks.size()); c-- > 0;) {
    const Chunk& chunk = pipeline.chunks[static_cast<std::size_t>(c)];
    reverse[chunk.slices[0].sequence.index()].push_back(c);
  }
  pipeline.backward = interleave(random, reverse);
  return pipeline;
}

// Instruction lists that end: every stage has run at least as many forwards before a backward as
// the stage after it.
inline void random_instructions(Random& random, Replica& replica, int stages, BackwardKind kind) {
  std::vector<std::vector<Instruction>> forwards;
  std::vector<std::vector<Instruction>> backwards;
  for (std::size_t q = 0; q < replica.pipelines.size(); ++q) {
    auto& f = forwards.emplace_back();
    auto& b = backwards.emplace_back();
    const Pipeline& pipeline = replica.pipelines[q];
    for (std::size_t c = 0; c < pipeline.chunks.size(); ++c) {
      f.push_back({Op::kForward, PipelineId(q), ChunkId(c)});
    }
    for (const int c : pipeline.backward) b.push_back({Op::kBackward, PipelineId(q), ChunkId(c)});
  }
  const std::vector<Instruction> order = interleave(random, forwards);
  const std::vector<Instruction> back = interleave(random, backwards);
  const auto position = [&](const Instruction& i) {
    return std::find(order.begin(), order.end(), Instruction{Op::kForward, i.pipeline, i.chunk}) -
           order.begin();
  };
  std::vector<std::size_t> before(back.size());  // forwards before each backward
  std::size_t running = 0;
  for (std::size_t i = 0; i < back.size(); ++i) {
    running = std::max(running, static_cast<std::size_t>(position(back[i])) + 1);
    before[i] = running;
  }
  replica.instructions.assign(static_cast<std::size_t>(stages), {});
  const int slack = pick(random, 0, 4);
  for (int p = stages; p-- > 0;) {
    auto& list = replica.instructions[static_cast<std::size_t>(p)];
    running = 0;
    for (std::size_t& count : before) {
      running = std::max(
          running,
          std::min(order.size(), count + static_cast<std::size_t>(pick(random, 0, slack))));
      count = running;
    }
    std::vector<Instruction> weights;
    std::size_t f = 0;
    const auto flush = [&](std::size_t keep) {
      while (weights.size() > keep) {
        list.push_back(weights.front());
        weights.erase(weights.begin());
      }
    };
    for (std::size_t i = 0; i < back.size(); ++i) {
      while (f < before[i]) list.push_back(order[f++]);
      const bool split =
          kind == BackwardKind::kSplit || (kind == BackwardKind::kMixed && pick(random, 0, 1) == 0);
      if (split) {
        list.push_back({Op::kInputGrad, back[i].pipeline, back[i].chunk});
        weights.push_back({Op::kWeightGrad, back[i].pipeline, back[i].chunk});
      } else {
        list.push_back(back[i]);
      }
      flush(static_cast<std::size_t>(pick(random, 0, 3)));
    }
    while (f < order.size()) list.push_back(order[f++]);
    flush(0);
  }
}

inline Plan random_plan(Random& random, const RandomShape& shape) {
  Plan plan;
  plan.planner.name = "random";
  plan.parallelism = {shape.stages, shape.sequence_parallel, shape.replicas};
  std::vector<int> cuts(static_cast<std::size_t>(shape.layers) - 1);
  for (std::size_t i = 0; i < cuts.size(); ++i) cuts[i] = static_cast<int>(i) + 1;
  random.shuffle(cuts);
  cuts.resize(static_cast<std::size_t>(shape.stages) - 1);
  cuts.push_back(shape.layers);
  std::sort(cuts.begin(), cuts.end());
  int begin = 0;
  for (const int end : cuts) {
    plan.stages.push_back({begin, end});
    begin = end;
  }
  const bool equal = pick(random, 0, 3) == 0;
  for (int s = 0; s < std::max(shape.sequences, shape.replicas); ++s) {
    const Tokens most =
        pick(random, 0, 3) == 0 ? shape.longest : std::max<Tokens>(1, shape.longest / 8);
    plan.sequences.push_back(equal ? shape.longest : random.between(1, most));
  }
  plan.replicas.resize(static_cast<std::size_t>(shape.replicas));
  std::vector<std::vector<std::vector<int>>> members(
      static_cast<std::size_t>(shape.replicas),
      std::vector<std::vector<int>>(static_cast<std::size_t>(shape.pipelines)));
  for (int s = 0; s < static_cast<int>(plan.sequences.size()); ++s) {
    const auto r =
        static_cast<std::size_t>(s < shape.replicas ? s : pick(random, 0, shape.replicas - 1));
    members[r][static_cast<std::size_t>(pick(random, 0, shape.pipelines - 1))].push_back(s);
  }
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    for (const auto& group : members[r]) {
      if (group.empty()) continue;
      plan.replicas[r].pipelines.push_back(random_pipeline(random, plan, group, shape));
    }
    random_instructions(random, plan.replicas[r], shape.stages, shape.backward);
  }
  if (pick(random, 0, 2) == 0) plan.sliding_window = random.between(1, shape.longest);
  return plan;
}

// A machine as its file: every optional field present or not.
inline Json random_profile(Random& random, const RandomShape& shape) {
  const auto number = [&](double low, double high) {
    return low + (high - low) * random.uniform();
  };
  const auto direction = [&] {
    Json cost = {{"seconds_per_token2", number(1e-7, 1e-5)},
                 {"seconds_per_token", number(1e-4, 1e-2)},
                 {"seconds_per_chunk", pick(random, 0, 1) == 0 ? 0.0 : number(0.0, 2.0)},
                 {"seconds_per_slice", pick(random, 0, 1) == 0 ? 0.0 : number(0.0, 0.1)}};
    if (pick(random, 0, 1) == 0) cost["seconds_per_context_token"] = number(0.0, 1e-3);
    return cost;
  };
  const auto pair = [&] {
    return Json{{"forward_seconds_per_token", number(0.0, 1e-3)},
                {"backward_seconds_per_token", number(0.0, 2e-3)}};
  };
  Json json = {{"format", "infinipipe.profile"},
               {"version", 1},
               {"source", "given"},
               {"machine", "random"},
               {"dtype", "float32"},
               {"forward", direction()},
               {"backward", direction()},
               {"embedding", pair()},
               {"head", pair()}};
  json["head"]["in_forward"] = pick(random, 0, 1) == 0;
  json["memory"] = {{"activation_bytes_per_token", shape.layers * number(500.0, 2000.0)},
                    {"input_bytes_per_token", number(10.0, 100.0)},
                    {"kv_bytes_per_token", number(10.0, 100.0)},
                    {"kv_grad_bytes_per_token", number(10.0, 200.0)},
                    {"head_bytes_per_token", number(0.0, 1000.0)},
                    {"workspace_bytes", number(0.0, 1e5)}};
  if (pick(random, 0, 1) == 0) {
    const double kept = json["memory"]["activation_bytes_per_token"].get<double>() / shape.layers;
    json["memory"]["layerwise"] = {{"forward_bytes_per_token", number(0.0, 1000.0)},
                                   {"backward_bytes_per_token", number(0.0, 3000.0)},
                                   {"backward_bytes", number(0.0, 1e5)},
                                   {"pending_bytes_per_token", number(0.0, kept)},
                                   {"head_bytes_per_token", number(0.0, 1000.0)},
                                   {"head_block_tokens", number(1.0, 300.0)},
                                   {"head_block_bytes_per_token", number(0.0, 2000.0)}};
  }
  json["memory"]["state"] = {
      {"bytes_per_layer", number(0.0, 1e5)},
      {"embedding_bytes", number(0.0, 1e5)},
      {"head_bytes", number(0.0, 1e5)},
      {"constant_bytes", number(0.0, 1e4)},
      {"sharded_over", std::array{"all", "sequence_parallel",
                                  "optimizer"}[static_cast<std::size_t>(pick(random, 0, 2))]}};
  if (pick(random, 0, 1) == 0) json["memory"]["attended_bytes_per_token"] = number(0.0, 100.0);
  if (pick(random, 0, 1) == 0) json["memory"]["state"]["optimizer_share"] = number(0.0, 1.0);
  json["links"] = {{"p2p",
                    {{"seconds", number(0.0, 0.1)},
                     {"bytes_per_second", number(1e4, 1e6)},
                     {"bytes_per_token", number(0.0, 100.0)}}},
                   {"all_to_all", {{"2", number(1e4, 1e6)}, {"4", number(1e4, 1e6)}}},
                   {"all_to_all_bytes_per_token", number(0.0, 100.0) * shape.layers},
                   {"all_gather", Json::object()},
                   {"reduce_scatter", Json::object()}};
  json["device"] = {{"memory_bytes", 1e9}};
  if (pick(random, 0, 1) == 0) json["seconds_per_chunk_divided"] = true;
  if (pick(random, 0, 2) == 0) {
    json["backward_weight"]["seconds_per_token"] =
        number(0.0, json["backward"]["seconds_per_token"].get<double>());
  }
  if (pick(random, 0, 1) == 0) {
    const double kept = json["memory"]["activation_bytes_per_token"].get<double>() / shape.layers;
    for (const KeepLevel& level : kKeepLevels) {
      if (level.profile_field == nullptr || pick(random, 0, 3) == 0) continue;
      json[level.profile_field] = direction();
      if (level.profile_bytes == nullptr) continue;
      json[level.profile_field][level.profile_bytes] = number(0.0, 0.5 * kept);
    }
  }
  if (pick(random, 0, 2) == 0) {
    for (int p = 0; p < shape.stages; ++p) json["stage_speed"].push_back(number(0.5, 1.5));
  }
  return json;
}

// Some of the recomputed layers keep more than their input, where the machine knows what that is.
inline void random_levels(Random& random, const Json& profile, Plan& plan) {
  for (const KeepLevel& level : kKeepLevels) {
    if (level.profile_field == nullptr || level.keep == Keep::kInput) continue;
    if (!profile.contains(level.profile_field)) continue;
    for (Replica& replica : plan.replicas) {
      for (Pipeline& pipeline : replica.pipelines) {
        for (Chunk& chunk : pipeline.chunks) {
          if (pick(random, 0, 2) == 0) continue;
          for (Keeping& keeping : chunk.keeping) {
            int& layers = keeping[Keep::kInput];
            const int more = pick(random, 0, 1) == 0 ? layers : pick(random, 0, layers);
            keeping[level.keep] += more;
            layers -= more;
          }
        }
      }
    }
  }
}

// Some of the batched chunks run in sub-groups, of which some may have nothing to do.
inline void random_degrees(Random& random, Plan& plan) {
  const int devices = plan.parallelism.sequence_parallel;
  std::vector<int> degrees;
  for (int degree = 1; degree < devices; degree *= 2) degrees.push_back(degree);
  if (degrees.empty()) return;
  for (Replica& replica : plan.replicas) {
    for (Pipeline& pipeline : replica.pipelines) {
      for (Chunk& chunk : pipeline.chunks) {
        if (chunk.kind != ChunkKind::kBatched || pick(random, 0, 2) == 0) continue;
        chunk.degree = degrees[static_cast<std::size_t>(
            pick(random, 0, static_cast<int>(degrees.size()) - 1))];
        chunk.groups.assign(static_cast<std::size_t>(devices / chunk.degree), 0);
        for (std::size_t s = 0; s < chunk.slices.size(); ++s) {
          const int group = pick(random, 0, static_cast<int>(chunk.groups.size()) - 1);
          ++chunk.groups[static_cast<std::size_t>(group)];
        }
      }
    }
  }
}

}  // namespace infinipipe::testing
