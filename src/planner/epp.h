// The elastic planner.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "planner/site.h"

namespace infinipipe {

// The whole search; with `paper_only` the same search restricted to what the paper does (Alg. 1,
// grouping, 1F1B, integer programme). `name` stands in the plans.
//
// `sites`: the same machine and limit, one for each level that recomputed layers may keep, most
// bytes first; not empty. With several, the search runs for one after the other: only for the first
// where memory does not bind its plan, else for all. Layers of each plan found then keep more where
// memory is left (keep_more), and the fastest plan wins.
std::unique_ptr<Planner> make_epp_planner(const std::string& name,
                                          std::vector<std::shared_ptr<const Site>> sites,
                                          bool paper_only);

}  // namespace infinipipe
