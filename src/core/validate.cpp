#include "infinipipe/core/validate.h"

#include "core/validate_steps.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

const char* to_string(PlanFault fault) {
  switch (fault) {
    case PlanFault::kShape:
      return "shape";
    case PlanFault::kLayers:
      return "layers";
    case PlanFault::kSlice:
      return "slice";
    case PlanFault::kCoverage:
      return "coverage";
    case PlanFault::kKind:
      return "kind";
    case PlanFault::kSequenceScattered:
      return "sequence scattered";
    case PlanFault::kDegree:
      return "degree";
    case PlanFault::kRecompute:
      return "recompute";
    case PlanFault::kUnknownChunk:
      return "unknown chunk";
    case PlanFault::kMissingInstruction:
      return "missing instruction";
    case PlanFault::kDuplicateInstruction:
      return "duplicate instruction";
    case PlanFault::kMixedBackward:
      return "mixed backward";
    case PlanFault::kForwardOrder:
      return "forward order";
    case PlanFault::kBackwardOrder:
      return "backward order";
    case PlanFault::kChannelOrder:
      return "channel order";
    case PlanFault::kDeadlock:
      return "deadlock";
  }
  return "unknown";
}

std::optional<PlanProblem> validate(const Plan& plan) {
  if (auto problem = validation::check_chunks(plan)) return problem;
  return validation::check_instructions(plan);
}

void require_valid(const Plan& plan, const std::string& where) {
  const auto problem = validate(plan);
  if (!problem) return;
  throw RunError(where, std::string(to_string(problem->fault)) + ": " + problem->message);
}

}  // namespace infinipipe
