// Which ways of recomputing a plan takes.
#pragma once

#include <memory>

#include "planner/site.h"

namespace infinipipe {

// Plans with recomputed layers that all keep their attention's output and, where memory binds that
// plan or is too little for it, with layers that keep their input alone; then lets the layers of
// both plans mix (store_anew) and takes the fastest. Both planners plan for the machine and limit
// of `site`.
std::unique_ptr<Planner> make_recompute_choice(std::shared_ptr<const Site> site,
                                               std::unique_ptr<Planner> keeps_attention,
                                               std::unique_ptr<Planner> keeps_input);

}  // namespace infinipipe
