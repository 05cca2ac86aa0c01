// NCCL, for tensors on GPUs. nccl.cpp where the build has CUDA, else no_nccl.cpp.
#pragma once

#include "dist/gloo.h"

namespace infinipipe {

// Groups of ranks with a GPU each, the calling thread's current one. Throws RunError where there is
// none, or where this build has no CUDA.
GroupFactory nccl_groups();

}  // namespace infinipipe
