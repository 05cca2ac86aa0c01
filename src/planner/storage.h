// What each layer of each chunk keeps, chosen anew for a given order of instructions.
#pragma once

#include <optional>

#include "planner/site.h"

namespace infinipipe {

// A search recomputes layers in one way throughout. Here every layer of every (stage, chunk) keeps
// all, its input and attention's output, or its input alone. Twice, once from where `plan` stands
// and once from layers that all keep their input alone, first attention outputs and then whole
// layers are kept where they save most seconds a byte, as far as the evaluator says that memory
// suffices. Order, chunks and messages stay as they are, so nothing gets slower.
//
// `plan`: finished by this site, whose profile knows recomputation around attention. The faster
// plan, finished; empty where none is faster. Deterministic; a number of evaluations that falls
// with the plan's size bounds the effort.
std::optional<Plan> store_anew(const Plan& plan, const Site& site);

}  // namespace infinipipe
