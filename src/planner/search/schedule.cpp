#include "planner/search/schedule.h"

#include <cstdio>

namespace infinipipe {

Candidate Schedule::summary() const {
  return {.schedule = name,
          .slices = slices,
          .chunk_tokens = chunking->target_tokens,
          .pipelines = static_cast<int>(starts.size()),
          .chunks = static_cast<int>(chunking->chunks.size()),
          .seconds = seconds,
          .note = note};
}

Replica Schedule::replica() const {
  return make_replica(*chunking, level, starts, steps, recompute);
}

std::string percent_slower(Seconds seconds, Seconds best) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.1f%% slower",
                best > 0.0 ? 100.0 * (seconds / best - 1.0) : 0.0);
  return text;
}

}  // namespace infinipipe
