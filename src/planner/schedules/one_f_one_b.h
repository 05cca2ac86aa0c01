// Pipelines of chunks as explicit instruction lists: 1F1B with slices (docs/planner.md), GPipe.
#pragma once

#include <algorithm>
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

// How many forwards a stage (0-based) of 1F1B runs before its first backward, if there are so many.
constexpr int warmup_forwards(int stages, int stage, int warmup_slices) {
  return stages - (stage + 1) + warmup_slices;
}

// The order of 1F1B on one stage: `warmup` forwards, then a backward and a forward by turns. Calls
// run(op, i) for the i-th forward (Op::kForward) or the i-th backward (Op::kBackward).
template <class Run>
void each_of_1f1b(int forwards, int backwards, int warmup, const Run& run) {
  int forward = 0;
  while (forward < std::min(forwards, warmup)) run(Op::kForward, forward++);
  for (int backward = 0; forward < forwards || backward < backwards; ++backward) {
    if (backward < backwards) run(Op::kBackward, backward);
    if (forward < forwards) run(Op::kForward, forward++);
  }
}

using InstructionLists = std::vector<std::vector<Instruction>>;

// Stage p (1-based) runs min(n, stages - p + warmup_slices) forwards, then one backward and one
// forward by turns, pipeline after pipeline. Never deadlocks where within each pipeline sequences
// with more slices come first. Pipelines without `backward` get forwards only.
InstructionLists one_f_one_b(const std::vector<Pipeline>& pipelines, int stages);

// All forwards, then all backwards, pipeline after pipeline.
InstructionLists all_forward_all_backward(const std::vector<Pipeline>& pipelines, int stages);

}  // namespace infinipipe
