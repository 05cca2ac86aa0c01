// Forward + backward time of a chunk on the average stage, as a linear function of its shape.
#pragma once

#include "core/attention_pairs.h"
#include "infinipipe/core/plan.h"
#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

// The cost model is linear in what a chunk's shape counts (docs/profile.md), so five numbers and
// the window, by which shapes are counted, describe it completely. Recomputation and transfers are
// left out. Value type.
struct ChunkSeconds {
  double per_token2 = 0.0;  // of (C+s)^2 - C^2, less what the window hides
  double per_token = 0.0;
  double per_slice = 0.0;
  double per_chunk = 0.0;
  double per_context = 0.0;  // of C, as far as it is read
  Tokens window = 0;         // the model's sliding_window; 0: none

  // Tokens [begin, end) of one sequence, without what is paid per slice, chunk and context.
  Seconds tokens(Tokens begin, Tokens end) const {
    return per_token2 * attention_token2(begin, end, window) +
           per_token * static_cast<double>(end - begin);
  }
  // One slice inside a chunk.
  Seconds slice(Tokens begin, Tokens end) const {
    return tokens(begin, end) + per_slice +
           per_context * static_cast<double>(attention_context(begin, window));
  }
  Seconds chunk(const Chunk& chunk) const;
};

// The mean over all stages, read off the model by probing. With `forward_only` the backward counts
// nothing.
ChunkSeconds chunk_seconds(const CostModel& cost, bool forward_only = false);

}  // namespace infinipipe
