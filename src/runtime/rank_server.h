// The part of a process that is not the driver: it does what rank 0 says.
#pragma once

#include <atomic>
#include <vector>

#include "runtime/process_job.h"

namespace infinipipe {

class Ranks;

struct ServeOptions {
  std::vector<const ProcessJob*> jobs;  // all that a driver may name
  // Set from a signal handler: the driver is told with the next answer, and decides.
  const std::atomic<bool>* stop = nullptr;
};

// Serves until the driver says that it is done (engines come and go meanwhile). A command that
// fails is the whole run's failure: it goes to Ranks::fail(), as does a driver that is gone.
void serve(Ranks& ranks, const ServeOptions& options);

}  // namespace infinipipe
