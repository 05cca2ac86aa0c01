// The elastic planner.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "planner/bound_context.h"

namespace infinipipe {

// Plans by the passes of core/passes.h that the contexts' configuration allows; epp.cpp lists them
// in order. `name` stands in the plans.
//
// `contexts`: the same machine and limit, one for each level that recomputed layers may keep, most
// bytes first; not empty. With several, the search runs for one after the other: only for the first
// where memory does not bind its plan, else for all. Layers of each plan found then keep more where
// memory is left (keep_more), and the fastest plan wins. Throws InputError where no pass that finds
// schedules for every batch may run.
std::unique_ptr<Planner> make_epp_planner(
    const std::string& name, std::vector<std::shared_ptr<const BoundContext>> contexts);

}  // namespace infinipipe
