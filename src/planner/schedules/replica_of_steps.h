// From orders of chunks to a replica's part of a plan, and from 1F1B lists to orders.
#pragma once

#include <vector>

#include "planner/schedules/one_f_one_b.h"
#include "planner/schedules/stage_steps.h"

namespace infinipipe {

// Which groups of a chunking make one pipeline: the first group of each pipeline, ascending from 0.
using PipelineStarts = std::vector<int>;

// Pipelines of consecutive groups, chunks with their recomputation; recomputed layers keep `level`.
std::vector<Pipeline> make_pipelines(const Chunking& chunking, Keep level,
                                     const PipelineStarts& starts,
                                     const RecomputeMatrix& recompute);

// 1F1B over those pipelines, one after the other.
StepLists one_f_one_b_steps(const ChunkTable& table, const PipelineStarts& starts);

Replica make_replica(const Chunking& chunking, Keep level, const PipelineStarts& starts,
                     const StepLists& steps, const RecomputeMatrix& recompute);

}  // namespace infinipipe
