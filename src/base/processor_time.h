// Processor time, as the kernel counts it.
#pragma once

#include "infinipipe/base/units.h"

namespace infinipipe {

Seconds thread_seconds();   // of the calling thread
Seconds process_seconds();  // of all threads of this process

}  // namespace infinipipe
