// One step's tokens, and what each chunk of a plan takes from them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "infinipipe/core/plan.h"
#include "model/common/stage_model.h"

namespace infinipipe {

// One batch's tokens.
struct Batch {
  std::vector<std::vector<std::int64_t>> sequences;  // token ids
  // Per sequence, empty or one weight per token: weight[j] counts the prediction of token j (so
  // weight[0] never counts). Empty: 1 for every target.
  std::vector<std::vector<float>> weights;

  // Sum of target weights over the batch; n - 1 a sequence where no weights are given.
  double target_weight() const;
};

// Throws InputError where the batch is not the one that the plan was made for (number of sequences,
// lengths, weights), or a token id lies outside [0, vocab).
void require_fits(const Batch& batch, const Plan& plan, std::int64_t vocab);

// One step, as every stage sees it.
struct StepInput {
  StepInput(const Plan& step_plan, const Batch& step_batch);

  const Plan& plan;
  const Batch& batch;
  std::vector<bool> cut;  // by sequence: more than one slice
  bool evaluation;
  double normalizer;  // sum of target weights
};

// How many neighbouring shards share what each has of the chunk, where the stage has `shards`.
int sharing_degree(const Chunk& chunk, int shards);
// What shard `shard` of them has: of a chunk in sub-groups the slices of its own. ChunkWork::shards
// is the caller's to set.
ChunkWork chunk_work(const StepInput& input, const Chunk& chunk, StageId stage, int shard = 0,
                     int shards = 1);
// Of the rank's own tokens, int64 [R] on the CPU.
at::Tensor chunk_tokens(const StepInput& input, const ChunkWork& work);
// Of the same tokens. Each token's target is the sequence's next token, also over a slice's end; a
// sequence's last token has none (weight 0). `dtype` of the weights: float32 or float64.
ChunkTargets chunk_targets(const StepInput& input, const ChunkWork& work, at::ScalarType dtype);
// Calls visit(slice, begin, end, at) for each slice that has tokens of the rank's own: tokens
// [begin, end) of its sequence, of which the first is the rank's at-th.
void for_own_tokens(
    const ChunkWork& work,
    const std::function<void(const SliceWork&, Tokens begin, Tokens end, Tokens at)>& visit);

}  // namespace infinipipe
