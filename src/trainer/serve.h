// What a process does that another one drives.
#pragma once

#include <atomic>

namespace infinipipe {

class Ranks;

// Serves rank 0's train(), evaluate(), generate() or profile_machine() until it is dismissed. *stop is
// set from a signal handler: rank 0 is told, and decides.
void serve_driver(Ranks& ranks, const std::atomic<bool>& stop);

}  // namespace infinipipe
