#include "model/common/fused/cuda/launch.cuh"
#include "model/common/fused/cuda/launchers.cuh"

namespace infinipipe::fused {

const char* start_rms_norm_backward(const RmsNormBackwardWork& work, void* stream) {
  return start_work(work, stream);
}

}  // namespace infinipipe::fused
