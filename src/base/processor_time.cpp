#include "base/processor_time.h"

#include <ctime>

namespace infinipipe {
namespace {

Seconds read(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace

Seconds thread_seconds() { return read(CLOCK_THREAD_CPUTIME_ID); }
Seconds process_seconds() { return read(CLOCK_PROCESS_CPUTIME_ID); }

}  // namespace infinipipe
