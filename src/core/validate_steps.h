// The two halves of validate(): what the chunks say, then what the stages do with them.
#pragma once

#include <optional>
#include <string>

#include "infinipipe/core/validate.h"

namespace infinipipe::validation {

using Problem = std::optional<PlanProblem>;

// Counts, layers, slices, coverage, kinds, sub-groups, recomputation, slice order, `backward`. Any
// plan may be passed, also one with ids out of range.
Problem check_chunks(const Plan& plan);

// Every stage's list, the neighbours' agreement, and a run to the end. Needs check_chunks() to have
// passed.
Problem check_instructions(const Plan& plan);

inline Problem problem(PlanFault fault, std::string where, const std::string& found,
                       const std::string& expected) {
  return PlanProblem{fault, std::move(where) + ": " + found + ", expected " + expected};
}

}  // namespace infinipipe::validation
