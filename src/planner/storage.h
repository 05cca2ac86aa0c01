// What each layer of each chunk keeps, chosen anew for a given order of instructions.
#pragma once

#include <optional>

#include "planner/site.h"

namespace infinipipe {

// A search recomputes layers in one way throughout. Here every layer of every (stage, chunk) keeps
// all, its input and attention's output, or its input alone. From where `plan` stands, and again
// from layers that all keep their input alone, attention outputs and whole layers are kept where
// they save most seconds a byte, as far as the evaluator says that memory suffices, up to 99% of
// the limit or what `plan` takes. Order, chunks and messages stay as they are.
//
// `plan`: finished for this site's machine and limit; the profile knows recomputation around
// attention. The faster plan, finished; empty where none is faster. Deterministic; the number of
// evaluations is bounded, and falls with the plan's size, so that the last bytes of a large plan
// may stay unused.
std::optional<Plan> store_anew(const Plan& plan, const Site& site);

}  // namespace infinipipe
