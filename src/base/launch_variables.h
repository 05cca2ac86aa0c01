// The environment variables by which `infinipipe launch` tells a rank what other launchers have no
// variable for. Who it is stands in RANK, WORLD_SIZE and so on, as from torchrun. How far a run has
// come goes the other way (progress.h).
#pragma once

namespace infinipipe {

constexpr const char* kLaunchVariable = "INFINIPIPE_LAUNCH";    // "1": it was this launcher
constexpr const char* kRunIdVariable = "INFINIPIPE_RUN_ID";     // of this run alone
constexpr const char* kRestartVariable = "INFINIPIPE_RESTART";  // how often all were started again
constexpr const char* kStoreVariable = "INFINIPIPE_STORE_FD";   // rank 0's listening socket

}  // namespace infinipipe
