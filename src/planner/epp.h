// The elastic planner.
#pragma once

#include <memory>

#include "planner/site.h"

namespace infinipipe {

std::unique_ptr<Planner> make_epp_planner(std::shared_ptr<const Site> site);

}  // namespace infinipipe
