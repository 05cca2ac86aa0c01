// A fault of one rank at one place, asked for from outside: how tests see what a run does about it.
#pragma once

#include <string_view>

namespace infinipipe {

// INFINIPIPE_FAULT="rank=2,step=3,at=B,kind=kill". `at`: how the place begins (as the heartbeat
// names it: "F0.2", "B", "optimizer", "save", "idle", and before the first command "start" and
// "hello"); `step`: the first that counts; `rank`, `step` and `at` may be left out: any. Kinds:
//   kill       SIGKILL
//   stop       SIGSTOP: the process stands still, its connections stay open
//   exit       exit code 3 without a word
//   exception  a RunError from this call
// It says so in a line on stderr ("fault: ..."), strikes once, and in the first start of a run only
// (INFINIPIPE_RESTART), so that a restart is left in peace.
extern const bool kFaultWanted;

// What maybe_fail() does once a fault is wanted. Throws InputError where the variable is not as
// above.
void fail_as_wanted(int rank, int step, std::string_view place);

// Called where a rank comes to a place; `step` -1: before the first. Any thread.
inline void maybe_fail(int rank, int step, std::string_view place) {
  if (kFaultWanted) [[unlikely]]
    fail_as_wanted(rank, step, place);
}

}  // namespace infinipipe
