#include "dist/nccl.h"

#include <c10/cuda/CUDAFunctions.h>

#include <chrono>

#define USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "infinipipe/base/error.h"

namespace infinipipe {

GroupFactory nccl_groups() {
  if (c10::cuda::device_count() == 0)
    throw RunError("nccl", "no GPU was found", "expected one for each rank of this host");
  return [](const c10::intrusive_ptr<c10d::Store>& store, int rank, int size) {
    // A copy must not wait behind the kernels of the stage that it serves.
    auto options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
    // Who is lost is for the heartbeat to say; an engine's time-out blames whoever waits.
    options->timeout = std::chrono::hours(24);
    return c10::intrusive_ptr<c10d::Backend>(
        c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, std::move(options)));
  };
}

}  // namespace infinipipe
