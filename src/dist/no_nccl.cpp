#include "dist/nccl.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

GroupFactory nccl_groups() {
  throw RunError("nccl", "this build has no CUDA", "expected one configured with INFINIPIPE_CUDA",
                 "build the preset train-cuda, or let messages go through the host with gloo");
}

}  // namespace infinipipe
