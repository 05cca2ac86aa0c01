// The choice of parallelism in words and a table, for people.
#pragma once

#include <string>

#include "core/parallel_choice.h"

namespace infinipipe {

// What was compared; every feasible layout, the fastest first, with time, throughput, memory and
// what it loses with; then the others with the reason.
std::string parallel_text(const ParallelChoice& choice);

}  // namespace infinipipe
