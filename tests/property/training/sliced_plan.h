// 1F1B plans of K slices, from the planner's parts.
#pragma once

#include <vector>

#include "infinipipe/core/plan.h"
#include "planner/chunking/sequence_processor.h"
#include "planner/schedules/one_f_one_b.h"

namespace infinipipe::testing {

struct SlicedPlanOptions {
  int stages = 1;
  int layers = 4;
  int slices = 1;             // K
  double token2_share = 0.0;  // of a token's cost, per token of context: 0 cuts in equal lengths
  Tokens pack_tokens = 0;     // most tokens that short sequences are packed to; 0: one slice's
};

inline Plan sliced_plan(const std::vector<Tokens>& lengths, const SlicedPlanOptions& options) {
  Plan plan;
  plan.planner.name = "test";
  plan.planner.slices = options.slices;
  plan.sequences = lengths;
  plan.parallelism.stages = options.stages;
  for (int p = 0; p < options.stages; ++p) {
    plan.stages.push_back(
        {p * options.layers / options.stages, (p + 1) * options.layers / options.stages});
  }
  ChunkSeconds cost;
  cost.per_token = 1e-6;
  cost.per_token2 = 1e-6 * options.token2_share;
  ChunkingOptions chunking;
  chunking.slices = options.slices;
  chunking.pack_tokens = options.pack_tokens;
  std::vector<Chunk> chunks = process_sequences(lengths, cost, chunking).chunks;
  for (Chunk& chunk : chunks) chunk.keeping.resize(plan.stages.size());
  Replica& replica = plan.replicas.emplace_back();
  replica.pipelines.push_back(make_pipeline(std::move(chunks)));
  replica.instructions = one_f_one_b(replica.pipelines, options.stages);
  return plan;
}

}  // namespace infinipipe::testing
