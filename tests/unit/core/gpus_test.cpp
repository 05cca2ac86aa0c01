#include "core/gpus.h"

#include <gtest/gtest.h>

namespace infinipipe {
namespace {

TEST(Gpus, MostOfTheMemoryIsForTensors) {
  EXPECT_DOUBLE_EQ(usable_gpu_memory(80 * kGpuGiB), 73 * kGpuGiB);
  EXPECT_DOUBLE_EQ(usable_gpu_memory(2 * kGpuGiB), 1 * kGpuGiB);
}

}  // namespace
}  // namespace infinipipe
