#include "runtime/cuda_devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

TEST(CudaDevices, TheProcessorIsNoneOfThem) {
  EXPECT_EQ(rank_device(Device::kCpu, 3), c10::Device(c10::kCPU));
  EXPECT_EQ(reserved_bytes(c10::kCPU), 0);
  release_cached(c10::kCPU);
}

TEST(CudaDevices, SaysWhyThereIsNone) {
  if (cuda_devices() > 0) GTEST_SKIP() << "this machine has one";
  try {
    rank_device(Device::kCuda, 0);
    FAIL() << "found one";
  } catch (const RunError& error) {
    EXPECT_THAT(error.what(), ::testing::ContainsRegex(
                                  "^config: runtime.device: found cuda, but (this program is built "
                                  "without CUDA|the driver shows no GPU).*; use "
                                  "--runtime.device cpu$"));
  }
}

}  // namespace
}  // namespace infinipipe
