// Pipelines of chunks as explicit instruction lists: 1F1B with slices (method.md §5), GPipe.
#pragma once

#include <vector>

#include "infinipipe/core/plan.h"

namespace infinipipe {

// Slices of cut sequences stand together in `chunks`; their backwards run in reverse, everything
// else in forward order: A1..An, B1..Bm -> An..A1, Bm..B1.
std::vector<int> backward_order(const std::vector<Chunk>& chunks);

// The most slices that one sequence has in `chunks`; at least 1.
int longest_run(const std::vector<Chunk>& chunks);

// Chunks must be in forward order, slices of a sequence next to each other.
Pipeline make_pipeline(std::vector<Chunk> chunks, bool forward_only = false);

using InstructionLists = std::vector<std::vector<Instruction>>;

// Stage p (1-based) runs min(n, stages - p + warmup_slices) forwards, then one backward and one
// forward by turns, pipeline after pipeline. Never deadlocks where within each pipeline sequences
// with more slices come first. Pipelines without `backward` get forwards only.
InstructionLists one_f_one_b(const std::vector<Pipeline>& pipelines, int stages);

// All forwards, then all backwards, pipeline after pipeline.
InstructionLists all_forward_all_backward(const std::vector<Pipeline>& pipelines, int stages);

}  // namespace infinipipe
