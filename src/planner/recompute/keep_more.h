// What each layer of each chunk keeps, chosen anew for a given order of instructions.
#pragma once

#include <optional>

#include "planner/bound_context.h"

namespace infinipipe {

// A search gives all recomputed layers one level of keeping. Here every layer of every
// (stage, chunk) may have any level that the profile knows. From where `plan` stands, and again
// from layers that all keep their input alone, layers keep more where that saves most seconds a
// byte, as far as the evaluator says that memory suffices, up to 99% of the limit or what `plan`
// takes. Order, chunks and messages stay as they are.
//
// `plan`: finished for this context's machine and limit. The faster plan, finished; empty where none
// is faster. Deterministic; the number of evaluations is bounded, and falls with the plan's size,
// so that the last bytes of a large plan may stay unused.
std::optional<Plan> keep_more(const Plan& plan, const BoundContext& context);

}  // namespace infinipipe
