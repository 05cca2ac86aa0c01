// Runs a program as N ranks on this machine and looks after them: `infinipipe launch`.
#pragma once

#include "cli/rank_process.h"
#include "infinipipe/base/units.h"

namespace infinipipe::cli {

struct LaunchOptions {
  Program program;
  int ranks = 1;
  int max_restarts = 0;
  Seconds grace = 10.0;
};

// Starts the ranks, passes on what they write (rank_output.h) and waits for them.
//
// Ends: 0, or what rank 0 ended with, where all went well: rank 0 with 0, or as it said before
// (report_end()) but neither 1 nor 2; every other with 0. Else 2 where a rank ended with 2 (wrong
// use, bad input), else 1.
//
// A rank that fails, and the end of rank 0, leave the others `grace` seconds to end by themselves;
// then they get SIGTERM, and SIGKILL after as much again, 5 seconds at most. None stays.
//
// SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 to this process ask for an orderly end: every rank
// gets SIGTERM, once. The second such signal kills all. Those that were ignored stay ignored.
//
// After a failure, unless a rank ended with 2, all ranks are started again, `max_restarts` times
// at most; not when it was asked to end, not when rank 0 was done, and not when a restart finished
// no step (report_progress()) that had not been finished before.
//
// Says in a line on stderr: a rank killed by a signal or with an exit code of nobody's, a restart,
// why there is none. Call it on the main thread of a process without other children. Throws
// RunError where ranks cannot be started.
int supervise(const LaunchOptions& launch);

}  // namespace infinipipe::cli
