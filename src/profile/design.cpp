#include "profile/design.h"

#include <algorithm>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// How many layers of one chunk keep their input alone: often none or all of a stage's, sometimes a
// part. design_plan() gives them another level.
std::vector<Keeping> random_keeping(const std::vector<LayerRange>& stages, Random& random) {
  std::vector<Keeping> keeping;
  for (const LayerRange& stage : stages) {
    const std::int64_t draw = random.between(0, 5);
    const int layers = draw < 3    ? 0
                       : draw == 3 ? static_cast<int>(random.between(0, stage.count()))
                                   : stage.count();
    keeping.push_back(Keeping::of(Keep::kInput, layers));
  }
  return keeping;
}

DesignGroup cut_document(Tokens length, Tokens smallest, Tokens largest,
                         const std::vector<LayerRange>& stages, Random& random) {
  DesignGroup group;
  group.sequences = {length};
  for (Tokens at = 0; at < length;) {
    // Even in the logarithm: as many short slices as long ones.
    Tokens slice = smallest;
    while (slice < largest && random.between(0, 2) > 0) slice *= 2;
    slice = std::min<Tokens>(length - at, slice + random.between(0, slice / 2));
    if (length - at - slice < smallest / 2) slice = length - at;
    Chunk chunk;
    chunk.kind = ChunkKind::kSplit;
    chunk.slices = {{SequenceId(0), at, at + slice}};
    chunk.keeping = random_keeping(stages, random);
    group.chunks.push_back(std::move(chunk));
    at += slice;
  }
  if (group.chunks.size() == 1) {
    group.chunks[0].kind = ChunkKind::kBatched;
    return group;
  }
  // Every second tail has company.
  for (std::int64_t more = random.between(0, 1) * random.between(1, 4); more > 0; --more) {
    const Tokens extra = std::min<Tokens>(length, random.between(32, 384));
    group.chunks.back().kind = ChunkKind::kHybrid;
    group.chunks.back().slices.push_back({SequenceId(group.sequences.size()), 0, extra});
    group.sequences.push_back(extra);
  }
  return group;
}

DesignGroup packed(const std::vector<Tokens>& lengths, const std::vector<LayerRange>& stages,
                   Random& random) {
  DesignGroup group;
  group.sequences = lengths;
  Chunk chunk;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    chunk.slices.push_back({SequenceId(i), 0, lengths[i]});
  }
  chunk.keeping = random_keeping(stages, random);
  group.chunks.push_back(std::move(chunk));
  return group;
}

}  // namespace

Tokens DesignGroup::tokens() const {
  Tokens sum = 0;
  for (const Tokens length : sequences) sum += length;
  return sum;
}

std::vector<DesignGroup> design_groups(Tokens longest, const std::vector<LayerRange>& stages,
                                       Random random) {
  INFINIPIPE_ASSERT(longest >= 1, "a document has tokens");
  std::vector<DesignGroup> groups;
  const auto whole = [&](Tokens length, int count) {
    length = std::clamp<Tokens>(length, 1, longest);
    groups.push_back(
        packed(std::vector<Tokens>(static_cast<std::size_t>(count), length), stages, random));
  };
  const auto mixture = [&](Tokens total) {
    std::vector<Tokens> lengths;
    for (Tokens left = std::min(total, 4 * longest); left > 0;) {
      Tokens length = 32;
      while (length < longest && random.between(0, 3) > 0) length *= 2;
      length = std::min({left, longest, length + random.between(0, length)});
      lengths.push_back(length);
      left -= length;
    }
    groups.push_back(packed(lengths, stages, random));
  };
  const auto cut = [&](Tokens length, Tokens smallest, Tokens largest) {
    if (length < 1 || length > longest) return;
    groups.push_back(cut_document(length, std::max<Tokens>(1, smallest),
                                  std::max<Tokens>(1, largest), stages, random));
  };
  const Tokens coarse = std::max<Tokens>(256, longest / 8);
  for (int round = 0; round < 4; ++round) {
    cut(longest, coarse / 2, coarse);
    mixture(2048);
    whole(std::max<Tokens>(256, longest / 8), 1);
    cut(longest / 2, 128, 512);  // short slices behind long contexts
    whole(128, 12);
    mixture(1024);
    cut(std::min<Tokens>(longest, 1536), 32, 96);  // what a chunk costs however small it is
    whole(512, 1);
    whole(2048, 1);
    whole(512, 5);
    mixture(4096);
    cut(longest / 4, 128, 1024);
    whole(longest / 4, 1);
    whole(192, 1);
    whole(64, 24);
    mixture(512);
    whole(1024, 3);
  }
  for (std::size_t i = 2; i < groups.size(); i += 3) {
    groups[i].split_backward = true;
    for (Chunk& chunk : groups[i].chunks) {
      std::fill(chunk.keeping.begin(), chunk.keeping.end(), Keeping{});
    }
  }
  // However few groups are taken, one large chunk recomputes every layer: where a stage has the
  // head too, only such a forward says what its layers hold.
  for (Chunk& chunk : groups[1].chunks) {
    for (std::size_t p = 0; p < stages.size(); ++p) {
      chunk.keeping[p] = Keeping::of(Keep::kInput, stages[p].count());
    }
  }
  // And another none, larger than the head's block.
  for (Chunk& chunk : groups[4].chunks) {
    std::fill(chunk.keeping.begin(), chunk.keeping.end(), Keeping{});
  }
  return groups;
}

Plan design_plan(const std::vector<const DesignGroup*>& groups,
                 const std::vector<LayerRange>& stages, Keep level, int replicas, int shards) {
  Plan plan;
  plan.planner.name = "profile";
  plan.parallelism.stages = static_cast<int>(stages.size());
  plan.parallelism.data_parallel = replicas;
  plan.parallelism.sequence_parallel = shards;
  plan.stages = stages;
  Replica replica;
  Pipeline pipeline;
  std::vector<Instruction> list;
  std::vector<std::pair<int, int>> ranges;  // chunks of each group
  for (const DesignGroup* group : groups) {
    const auto base = static_cast<std::size_t>(plan.sequences.size());
    const int first = static_cast<int>(pipeline.chunks.size());
    plan.sequences.insert(plan.sequences.end(), group->sequences.begin(), group->sequences.end());
    for (Chunk chunk : group->chunks) {
      for (Slice& slice : chunk.slices) slice.sequence = SequenceId(base + slice.sequence.index());
      for (Keeping& keeping : chunk.keeping) keeping = Keeping::of(level, keeping.remade());
      pipeline.chunks.push_back(std::move(chunk));
    }
    ranges.emplace_back(first, static_cast<int>(pipeline.chunks.size()));
    pipeline.warmup_slices =
        std::max(pipeline.warmup_slices, static_cast<int>(group->chunks.size()));
  }
  const auto instruction = [](Op op, int chunk) {
    return Instruction{op, PipelineId(0), ChunkId(chunk)};
  };
  const auto backwards = [&](std::size_t g) {
    const bool split = groups[g]->split_backward;
    for (int k = ranges[g].second; k > ranges[g].first; --k) {
      list.push_back(instruction(split ? Op::kInputGrad : Op::kBackward, k - 1));
      pipeline.backward.push_back(k - 1);
    }
    for (int k = ranges[g].second; split && k > ranges[g].first; --k) {
      list.push_back(instruction(Op::kWeightGrad, k - 1));
    }
  };
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (int k = ranges[g].first; k < ranges[g].second; ++k) {
      list.push_back(instruction(Op::kForward, k));
    }
    if (g > 0) backwards(g - 1);
  }
  if (!groups.empty()) backwards(groups.size() - 1);
  replica.instructions.assign(stages.size(), list);
  replica.pipelines.push_back(std::move(pipeline));
  const std::vector<Tokens> sequences = plan.sequences;  // of one replica
  for (int r = 0; r < replicas; ++r) {
    Replica& mine = plan.replicas.emplace_back(replica);
    if (r == 0) continue;
    for (Chunk& chunk : mine.pipelines[0].chunks) {
      for (Slice& slice : chunk.slices) {
        slice.sequence = SequenceId(plan.sequences.size() + slice.sequence.index());
      }
    }
    plan.sequences.insert(plan.sequences.end(), sequences.begin(), sequences.end());
  }
  return plan;
}

}  // namespace infinipipe
