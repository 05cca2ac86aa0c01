// Processes of one host that copy straight between each other's memory, as MPI libraries do by what
// they call CMA (cross memory attach): one copy, by one of the two threads, where a connection over
// loopback makes two and wakes a thread on each side.
#pragma once

#include "dist/gloo.h"

namespace infinipipe {

// Groups of ranks that run on one host and send tensors in its memory. The factory returns null, in
// all of the group's ranks, where the system does not let one of them: one that is no Linux, or
// forbids process_vm_writev (a container's filter, Yama, other users' processes). The caller then
// takes another engine.
//
// Sender and receiver say in memory that they share where their tensor is, and whichever comes
// second copies, so no thread waits and none is woken but who waits for that message. Messages of
// one direction are matched in order; 16,384 may be under way, one more is an exception. One whose
// size is not its buffer's is an error of both sides and alters nothing. A tensor is let go of, and
// never touched again, when the Work that send() or recv() returned is. Whoever waits for a rank
// that has ended, or has left the group, is told so by an exception within a tenth of a second. A
// member's calls come from one thread; its Work may be waited for and aborted by any.
GroupFactory cross_memory_groups();

}  // namespace infinipipe
