// The context of the fused kernels on a GPU, and their start.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "model/common/fused/choose.h"

namespace infinipipe::fused {

struct DeviceContext {
  __device__ __forceinline__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ std::int64_t block() const { return blockIdx.x; }
  __device__ __forceinline__ void sync() { __syncthreads(); }
  template <class T>
  __device__ __forceinline__ T shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(0xffffffffU, value, mask);
  }
};

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads) start(const Kernel kernel) {
  __shared__ typename Kernel::Shared shared;
  DeviceContext context;
  kernel(context, shared);
}

struct DeviceRun {
  cudaStream_t stream;

  template <class Kernel>
  void operator()(const Kernel& kernel, std::int64_t blocks) const {
    if (blocks > 0) start<<<static_cast<unsigned>(blocks), Kernel::kThreads, 0, stream>>>(kernel);
  }
};

// The body of a launcher. An error of an earlier kernel may come up here.
template <class Work>
const char* start_work(const Work& work, void* stream) {
  launch(work, DeviceRun{static_cast<cudaStream_t>(stream)});
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace infinipipe::fused
