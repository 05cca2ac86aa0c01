#include <cuda_runtime.h>

#include "model/common/fused/cuda/launchers.cuh"
#include "model/common/fused/launchers.h"

namespace infinipipe::fused {

namespace {

constexpr int kLeastMajor =
    9;  // the compute capability that the kernels are compiled for, and later

bool served() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major >= kLeastMajor;
}

}  // namespace

const Launchers* launchers() {
  static constexpr Launchers kTable{start_rms_norm,      start_rms_norm_backward,
                                    start_rope_split,    start_rope_merge,
                                    start_swiglu,        start_swiglu_backward,
                                    start_cross_entropy, start_adamw,
                                    start_squares,       start_total};
  static const bool kServed = served();
  return kServed ? &kTable : nullptr;
}

}  // namespace infinipipe::fused
