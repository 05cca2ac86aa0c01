// Proof that a plan can run: structure, coverage, order, no deadlock. Memory is proven by the
// simulator's ledger (infinipipe/sim).
#pragma once

#include <optional>
#include <string>

#include "infinipipe/core/plan.h"

namespace infinipipe {

enum class PlanFault {
  kShape,     // counts that do not fit: stages, replicas, instruction lists, recompute lists
  kLayers,    // stages not contiguous from layer 0, or an empty stage
  kSlice,     // a slice outside its sequence or empty
  kCoverage,  // a token in no slice or in two
  kKind,      // a chunk's kind contradicts its slices
  kSequenceScattered,  // slices of one sequence in different pipelines
  kDegree,             // sub-groups of a chunk that may have none, or that do not share it out
  kRecompute,          // out of 0..layers(stage), or attention kept in more layers than that
  kUnknownChunk,       // an instruction names a chunk that is not there
  kMissingInstruction,
  kDuplicateInstruction,
  kMixedBackward,  // B together with I or W for one chunk on one stage, I without W, ...
  kForwardOrder,   // a slice before an earlier slice, or not in chunk order
  kBackwardOrder,  // `backward` no permutation or not what the stages do; a slice's backward
                   // before that of a later slice; a backward before its forward
  kChannelOrder,   // neighbouring stages disagree on the order of their messages
  kDeadlock,       // no stage can go on
};

const char* to_string(PlanFault fault);

struct PlanProblem {
  PlanFault fault;
  std::string message;  // one line: where, what was found, what was expected
};

// The first problem, or nothing. O(size of the plan).
//
// Proves: every token of every sequence is in exactly one slice; sub-groups share out their chunk's
// whole sequences; slices of a sequence run forward
// in order and backward in reverse on every stage; every chunk has one F on every stage and then
// either one B or one I and a later W (or, in an evaluation plan, nothing more anywhere); each
// stage's F order within a pipeline is chunk order and its backward order is `backward`;
// neighbouring stages agree on message order per channel; and the lists, run against unbounded FIFO
// channels with non-blocking sends and blocking receives, come to their end.
std::optional<PlanProblem> validate(const Plan& plan);

// Throws RunError("plan", ...) with the first problem.
void require_valid(const Plan& plan, const std::string& where = "plan");

}  // namespace infinipipe
