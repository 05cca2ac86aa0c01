// What stops a run from outside: signals, and a reader of its output that has gone.
#pragma once

#include <atomic>

namespace infinipipe::cli {

// Set once by the first signal: the run shall end in order. Lives as long as the program.
const std::atomic<bool>& stop_flag();
// The same from inside the program.
void request_stop();

// From now on SIGINT, SIGTERM, SIGHUP and SIGUSR1 (which clusters send before they kill) ask for an
// orderly end; the second of them, whichever it is, ends the process at once. Those that were
// ignored stay ignored, as under nohup. SIGPIPE and SIGXFSZ are ignored: writing says what is
// wrong.
void handle_stop_signals();
// The same in a process that another one drives: the flag is set, and nothing is said.
void note_stop_signals();

}  // namespace infinipipe::cli
