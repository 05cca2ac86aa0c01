// Chooses again what each layer of each chunk keeps, for a given order of instructions.
#pragma once

#include <optional>

#include "planner/bound_context.h"

namespace infinipipe {

// A search gives all recomputed layers the same level of keeping. Here each layer of each chunk on
// each stage may have any level that the profile knows. Two starts are tried: what `plan` keeps,
// and layers that all keep their input alone. From each, layers keep more, those first where a byte
// saves most seconds, as long as the evaluator says that a stage takes at most 99% of the limit, or
// at most what it takes in `plan` where that is more. Order, chunks and messages stay as they are.
//
// `plan` must be finished for this context's machine and limit. Returns the faster plan, finished;
// empty where none is faster. Deterministic. The number of evaluations is bounded and falls with
// the plan's size, so the last bytes of a large plan may stay unused.
std::optional<Plan> keep_more(const Plan& plan, const BoundContext& context);

}  // namespace infinipipe
