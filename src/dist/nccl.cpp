#include "dist/nccl.h"

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAFunctions.h>

#include <chrono>
#include <vector>

#define USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// A group connects at its first message, and the first send would wait for its receiver. So one is
// sent here, where all members wait for each other anyway.
void connect(c10d::Backend& group, at::Device device) {
  if (group.getSize() != 2) return group.eagerConnectSingleDevice(device);
  std::vector<at::Tensor> tensors = {at::empty({1}, at::TensorOptions(at::kFloat).device(device))};
  (group.getRank() == 0 ? group.send(tensors, 1, 0) : group.recv(tensors, 0, 0))->wait();
}

}  // namespace

GroupFactory nccl_groups() {
  if (c10::cuda::device_count() == 0)
    throw RunError("nccl", "no GPU was found", "expected one for each rank of this host");
  return [](const c10::intrusive_ptr<c10d::Store>& store, int rank, int size) {
    // A message must not wait behind the kernels of the stage that it serves.
    auto options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
    // Who is lost is for the heartbeat to say; an engine's time-out blames whoever waits.
    options->timeout = std::chrono::hours(24);
    auto group = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, std::move(options));
    connect(*group, at::Device(at::kCUDA, c10::cuda::current_device()));
    return c10::intrusive_ptr<c10d::Backend>(std::move(group));
  };
}

}  // namespace infinipipe
