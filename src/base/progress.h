// How far a run has come, told to the process that started it (`infinipipe launch`).
#pragma once

namespace infinipipe {

// The environment variable that names the descriptor of the way to the starter.
constexpr const char* kProgressVariable = "INFINIPIPE_PROGRESS_FD";

// Tells that `steps` steps of the run are finished, those before a resume included. Does nothing
// where nobody asked for it, and nothing is wrong where the starter has gone or does not listen:
// never blocks, never raises SIGPIPE, never throws. Any thread.
void report_progress(int steps) noexcept;

// Tells that the command is done and its process will end with this exit code, as report_progress()
// does. An exit code of which nobody was told is a failure.
void report_end(int exit_code) noexcept;

}  // namespace infinipipe
