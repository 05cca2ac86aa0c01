#include "model/common/fused/cuda/launch.cuh"
#include "model/common/fused/cuda/launchers.cuh"

namespace infinipipe::fused {

const char* start_rope_split(const RopeSplitWork& work, void* stream) {
  return start_work(work, stream);
}
const char* start_rope_merge(const RopeMergeWork& work, void* stream) {
  return start_work(work, stream);
}
const char* start_swiglu(const SwigluWork& work, void* stream) { return start_work(work, stream); }
const char* start_swiglu_backward(const SwigluBackwardWork& work, void* stream) {
  return start_work(work, stream);
}

}  // namespace infinipipe::fused
