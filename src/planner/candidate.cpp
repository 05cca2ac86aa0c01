#include "planner/candidate.h"

namespace infinipipe {

Candidate Schedule::summary() const {
  return {.schedule = name,
          .slices = cutting->slices,
          .chunk_tokens = cutting->chunking.target_tokens,
          .pipelines = static_cast<int>(starts.size()),
          .chunks = cutting->table.chunks,
          .seconds = seconds,
          .note = note};
}

}  // namespace infinipipe
