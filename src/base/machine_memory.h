// How much memory there is.
#pragma once

#include "infinipipe/base/units.h"

namespace infinipipe {

// Bytes of this machine's memory, or what the process's control group (or one around it) allows,
// where that is less. Linux's /proc and /sys; never fails. Any thread.
Bytes machine_memory();

}  // namespace infinipipe
