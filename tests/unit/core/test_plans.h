// Good plans of every shape, made without the planner, for tests of what judges plans.
#pragma once

#include <algorithm>
#include <vector>

#include "infinipipe/core/plan.h"
#include "support/keeping.h"

namespace infinipipe::testing {

enum class BackwardStyle {
  kWhole,    // B
  kSplit,    // I W
  kDelayed,  // I ..., all W at the end
  kNone,     // evaluation
};

struct PlanShape {
  int stages = 2;
  int layers_per_stage = 2;
  int replicas = 1;
  int pipelines = 2;         // per replica
  int slices = 3;            // of each pipeline's long sequence; 1: not cut
  int shorts = 3;            // batched short sequences per pipeline, one a chunk
  bool interleaved = false;  // the next pipeline starts in the cool-down of the one before
  BackwardStyle style = BackwardStyle::kWhole;
};

// Chunks of one pipeline: a long sequence of 100 tokens a slice, whose tail takes a short one, then
// the other short ones. Appends the lengths to plan.sequences.
inline Pipeline make_pipeline(Plan& plan, const PlanShape& shape) {
  Pipeline pipeline;
  pipeline.warmup_slices = shape.slices;
  const std::vector<Keeping> all(static_cast<std::size_t>(shape.stages));
  const auto add_sequence = [&](Tokens length) {
    plan.sequences.push_back(length);
    return SequenceId(plan.sequences.size() - 1);
  };
  const SequenceId longest = add_sequence(100 * shape.slices);
  for (int i = 0; i < shape.slices; ++i) {
    Chunk chunk;
    chunk.kind = shape.slices > 1 ? ChunkKind::kSplit : ChunkKind::kBatched;
    chunk.slices = {{longest, 100 * i, 100 * (i + 1)}};
    chunk.keeping = all;
    chunk.keeping[0] = testing::inputs(i % (shape.layers_per_stage + 1));
    pipeline.chunks.push_back(chunk);
  }
  for (int i = 0; i < shape.shorts; ++i) {
    const Tokens length = 10 + i;
    const Slice slice{add_sequence(length), 0, length};
    if (i == 0 && shape.slices > 1) {
      pipeline.chunks.back().kind = ChunkKind::kHybrid;
      pipeline.chunks.back().slices.push_back(slice);
    } else {
      pipeline.chunks.push_back({ChunkKind::kBatched, {slice}, all});
    }
  }
  if (shape.style == BackwardStyle::kNone) return pipeline;
  for (int i = shape.slices; i-- > 0;) pipeline.backward.push_back(i);
  for (int i = shape.slices; i < static_cast<int>(pipeline.chunks.size()); ++i) {
    pipeline.backward.push_back(i);
  }
  return pipeline;
}

// One stage's 1F1B list over pipelines [first, last) as if they were one.
inline void append_1f1b(const Replica& replica, std::size_t first, std::size_t last, int stage,
                        const PlanShape& shape, std::vector<Instruction>& list) {
  std::vector<Instruction> forwards;
  std::vector<Instruction> backwards;
  int longest = 1;
  for (std::size_t q = first; q < last; ++q) {
    const Pipeline& pipeline = replica.pipelines[q];
    longest = std::max(longest, pipeline.warmup_slices);
    for (std::size_t c = 0; c < pipeline.chunks.size(); ++c) {
      forwards.push_back({Op::kForward, PipelineId(q), ChunkId(c)});
    }
    for (const int c : pipeline.backward) {
      backwards.push_back({Op::kBackward, PipelineId(q), ChunkId(c)});
    }
  }
  const std::size_t warmup =
      std::min(forwards.size(), static_cast<std::size_t>(shape.stages - 1 - stage + longest));
  std::vector<Instruction> weights;
  std::size_t f = 0;
  for (; f < warmup; ++f) list.push_back(forwards[f]);
  for (const Instruction& backward : backwards) {
    if (shape.style == BackwardStyle::kWhole) {
      list.push_back(backward);
    } else {
      list.push_back({Op::kInputGrad, backward.pipeline, backward.chunk});
      const Instruction weight{Op::kWeightGrad, backward.pipeline, backward.chunk};
      (shape.style == BackwardStyle::kSplit ? list : weights).push_back(weight);
    }
    if (f < forwards.size()) list.push_back(forwards[f++]);
  }
  for (; f < forwards.size(); ++f) list.push_back(forwards[f]);
  list.insert(list.end(), weights.begin(), weights.end());
}

inline Plan make_plan(const PlanShape& shape = {}) {
  Plan plan;
  plan.planner.name = "test";
  plan.planner.slices = shape.slices;
  plan.parallelism = {shape.stages, 1, shape.replicas};
  for (int p = 0; p < shape.stages; ++p) {
    plan.stages.push_back({p * shape.layers_per_stage, (p + 1) * shape.layers_per_stage});
  }
  for (int r = 0; r < shape.replicas; ++r) {
    Replica& replica = plan.replicas.emplace_back();
    for (int q = 0; q < shape.pipelines; ++q) {
      replica.pipelines.push_back(make_pipeline(plan, shape));
    }
    replica.instructions.resize(static_cast<std::size_t>(shape.stages));
    for (int p = 0; p < shape.stages; ++p) {
      auto& list = replica.instructions[static_cast<std::size_t>(p)];
      const std::size_t count = replica.pipelines.size();
      if (shape.interleaved) {
        append_1f1b(replica, 0, count, p, shape, list);
      } else {
        for (std::size_t q = 0; q < count; ++q) append_1f1b(replica, q, q + 1, p, shape, list);
      }
    }
  }
  return plan;
}

}  // namespace infinipipe::testing
