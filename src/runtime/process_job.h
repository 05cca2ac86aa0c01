// Work that every process of a run does on what its ranks hold: saving them, loading them.
#pragma once

#include <nlohmann/json.hpp>

#include "infinipipe/base/json.h"
#include "runtime/local_ranks.h"

namespace infinipipe {

// The driver names the job to the others, who look it up in the table that serve() was given. What
// it throws reaches the driver's caller as an Error of the same kind, after all processes have done
// theirs; the run can go on.
struct ProcessJob {
  const char* name;
  Json (*run)(LocalRanks& ranks, const Json& arguments);
};

}  // namespace infinipipe
