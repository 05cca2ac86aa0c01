// Which sequences share a pipeline (eq. 12-14 of arXiv 2509.21275; docs/planner.md, "Passes").
#pragma once

#include "planner/schedules/replica_of_steps.h"

namespace infinipipe {

// Estimated seconds of recomputation when groups [first, last) run as one 1F1B pipeline: on each
// stage p (0-based) min(chunks, stages - 1 - p + N) chunks of mean size are in flight, N the slices
// of the longest group, beside the largest cut sequence's dK and dV and one recomputed layer; what
// exceeds the stage's memory is made up by recomputing the same, least number of layers of every
// chunk. The slowest stage counts. Infinite where even all layers do not suffice.
Seconds segment_recompute_seconds(const ChunkTable& table, int first, int last);

// Pipelines of consecutive groups: dp[i] = min over k of dp[k] + delta + the segment's estimate,
// where i and k run over the distinct slice counts (sequences with equally many slices stay
// together) and delta = (stages - 1) x mean chunk time is what filling and draining one more
// pipeline costs. Groups must be sorted by slices, descending. O(distinct counts^2 x chunks x
// stages).
PipelineStarts group_pipelines(const ChunkTable& table);

// delta of the above.
Seconds pipeline_seconds(const ChunkTable& table);

}  // namespace infinipipe
