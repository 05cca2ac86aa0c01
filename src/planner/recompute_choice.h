// Which of two ways of recomputing a plan takes.
#pragma once

#include <memory>

#include "infinipipe/planner/planner.h"

namespace infinipipe {

// The faster of two planners' plans for each batch: one whose recomputed layers keep their
// attention's output, and one whose layers keep their input alone, which holds less and is asked
// only where the first one's plan recomputes or does not fit. Ties go to the first.
std::unique_ptr<Planner> make_recompute_choice(std::unique_ptr<Planner> keeps_attention,
                                               std::unique_ptr<Planner> keeps_input);

}  // namespace infinipipe
