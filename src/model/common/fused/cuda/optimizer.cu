#include "model/common/fused/cuda/launch.cuh"
#include "model/common/fused/cuda/launchers.cuh"

namespace infinipipe::fused {

const char* start_adamw(const AdamWWork& work, void* stream) { return start_work(work, stream); }
const char* start_squares(const SquaresWork& work, void* stream) {
  return start_work(work, stream);
}
const char* start_total(const TotalWork& work, void* stream) { return start_work(work, stream); }

}  // namespace infinipipe::fused
