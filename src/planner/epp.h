// The elastic planner.
#pragma once

#include <memory>
#include <string>

#include "planner/site.h"

namespace infinipipe {

// The whole search; with `paper_only` the same search restricted to what the paper does (Alg. 1,
// grouping, 1F1B, integer programme). `name` stands in the plans.
std::unique_ptr<Planner> make_epp_planner(std::string name, std::shared_ptr<const Site> site,
                                          bool paper_only);

}  // namespace infinipipe
