// The elastic planner.
#pragma once

#include <memory>

#include "planner/site.h"

namespace infinipipe {

// The whole search, named "epp"; with `paper_only` the same search restricted to what the paper
// does (Alg. 1, grouping, 1F1B, integer programme), named "epp-1f1b".
std::unique_ptr<Planner> make_epp_planner(std::shared_ptr<const Site> site,
                                          bool paper_only = false);

}  // namespace infinipipe
