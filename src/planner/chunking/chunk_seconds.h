// Forward + backward time of a chunk on the average stage, as a linear function of its shape.
#pragma once

#include "infinipipe/core/plan.h"
#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

// The cost model is linear in what a chunk's shape counts (docs/profile.md), so five
// numbers describe it completely. Recomputation and transfers are left out. Value type.
struct ChunkSeconds {
  double per_token2 = 0.0;  // of (C+s)^2 - C^2
  double per_token = 0.0;
  double per_slice = 0.0;
  double per_chunk = 0.0;
  double per_context = 0.0;  // of C

  // Tokens [begin, end) of one sequence, without what is paid per slice, chunk and context.
  Seconds tokens(Tokens begin, Tokens end) const {
    const auto b = static_cast<double>(begin);
    const auto e = static_cast<double>(end);
    return per_token2 * (e * e - b * b) + per_token * (e - b);
  }
  // One slice inside a chunk.
  Seconds slice(Tokens begin, Tokens end) const {
    return tokens(begin, end) + per_slice + per_context * static_cast<double>(begin);
  }
  Seconds chunk(const Chunk& chunk) const;
};

// The mean over all stages, read off the model by probing. With `forward_only` the backward counts
// nothing.
ChunkSeconds chunk_seconds(const CostModel& cost, bool forward_only = false);

}  // namespace infinipipe
