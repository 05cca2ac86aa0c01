// What one instruction took: measured on the real engine, with every stage at work.
#pragma once

#include <string>
#include <vector>

#include "infinipipe/core/trace.h"
#include "infinipipe/cost/cost_model.h"

namespace infinipipe {

struct InstructionSample {
  int chunk = 0;  // of the design; the same on every stage and in every round
  StageId stage;
  Op op = Op::kForward;
  ChunkShape shape;
  std::string kind;                 // "split", "hybrid", "batched": for the report
  Tokens context = 0;               // of its first slice
  Keeping keeping;                  // of one level, whatever runs again
  Seconds seconds = 0.0;            // whole instruction, recomputation left out
  Seconds recompute_seconds = 0.0;  // of the layers that run again
  Seconds exchange_seconds = 0.0;   // part of `seconds`: between shards
  // Messages that waited when it began. If the neighbour took them before this instruction's peak,
  // `temporary` is too small by as much.
  Bytes waited = 0.0;
  // The most that it held beyond what was there before it (B, I) or after it (F).
  Bytes temporary = 0.0;
};

// The level of the layers that run again; the input's where none does.
Keep level_of(const InstructionSample& sample);

// The samples of a measured step's first replica. Events and memory samples (two an event) as the
// engine writes them. `first_chunk`: the design's number of the plan's chunk 0.
std::vector<InstructionSample> samples_of(const Plan& plan, const Trace& trace, int first_chunk,
                                          Tokens window = 0);

// Joins the rounds: samples of the same chunk, stage, op and recomputation become one, in the order
// in which they first appear. Times are medians. Recomputation has no part in `seconds`, so its
// median is over all samples of a chunk, stage and op. Of bytes the largest counts, as messages
// that are taken in the middle of an instruction make the figure smaller and nothing makes it
// larger.
std::vector<InstructionSample> medians(const std::vector<std::vector<InstructionSample>>& rounds);

}  // namespace infinipipe
