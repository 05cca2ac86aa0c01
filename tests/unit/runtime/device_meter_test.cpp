// No GPU is needed: the tests report what a device's caching allocator would.
#include "runtime/device_meter.h"

#include <c10/core/Allocator.h>
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <thread>

namespace infinipipe {
namespace {

class DeviceMeter : public ::testing::Test {
 protected:
  DeviceMeter() : meter_(&memory::acquire_meter()), other_(&memory::acquire_meter()) {}
  ~DeviceMeter() override {
    memory::release_meter(*meter_);
    memory::release_meter(*other_);
  }

  void* block(std::size_t i) { return &storage_[i]; }
  static void report(void* data, std::int64_t bytes,
                     c10::Device device = c10::Device(c10::kCUDA, 0)) {
    c10::reportMemoryUsageToProfiler(data, bytes, 0, 0, device);
  }
  MemoryMeter& meter() { return *meter_; }
  MemoryMeter& other() { return *other_; }

 private:
  std::array<char, 8> storage_{};  // addresses that nothing else has
  MemoryMeter* meter_;
  MemoryMeter* other_;
};

TEST_F(DeviceMeter, CountsByScope) {
  const DeviceReports reports;
  {
    const MemoryScope scope(meter(), MemoryPurpose::kWeights);
    report(block(0), 1024);
    const MemoryScope inner(meter(), MemoryPurpose::kActivations);
    report(block(1), 512);
  }
  EXPECT_EQ(meter().live(MemoryPurpose::kWeights), 1024);
  EXPECT_EQ(meter().live(MemoryPurpose::kActivations), 512);
  EXPECT_EQ(meter().largest(), 1024);
  report(block(1), -512);
  EXPECT_EQ(meter().live(), 1024);
  EXPECT_EQ(meter().peak(), 1536);
  report(block(0), -1024);
  EXPECT_EQ(meter().live(), 0);
}

TEST_F(DeviceMeter, MovesABlockToAnotherOwner) {
  const DeviceReports reports;
  const MemoryScope scope(meter(), MemoryPurpose::kTransfers);
  report(block(0), 2048);
  EXPECT_TRUE(memory::assign_device(block(0), other(), MemoryPurpose::kActivations));
  EXPECT_FALSE(memory::assign_device(block(1), other(), MemoryPurpose::kActivations));
  EXPECT_EQ(meter().live(), 0);
  EXPECT_EQ(other().live(MemoryPurpose::kActivations), 2048);
  report(block(0), -2048);
  EXPECT_EQ(other().live(), 0);
}

TEST_F(DeviceMeter, ABlockMayEndOnAnotherReportingThread) {
  const DeviceReports reports;
  const MemoryScope scope(meter(), MemoryPurpose::kTransfers);
  report(block(0), 512);
  std::thread([&] {
    const DeviceReports theirs;
    report(block(0), -512);
  }).join();
  EXPECT_EQ(meter().live(), 0);
}

TEST_F(DeviceMeter, AnAddressThatComesAgainIsCountedOnce) {
  const DeviceReports reports;
  const MemoryScope scope(meter(), MemoryPurpose::kActivations);
  report(block(0), 512);
  std::thread([&] { report(block(0), -512); }).join();  // nobody heard of it
  EXPECT_EQ(meter().live(), 512);
  report(block(0), 4096);
  EXPECT_EQ(meter().live(), 4096);
  report(block(0), -4096);
  EXPECT_EQ(meter().live(), 0);
}

TEST_F(DeviceMeter, OnlyDevicesAndOnlyWhileItLives) {
  const MemoryScope scope(meter(), MemoryPurpose::kActivations);
  report(block(0), 512);
  EXPECT_EQ(meter().live(), 0) << "no reports yet";
  std::optional<DeviceReports> reports(std::in_place);
  report(block(0), 512, c10::Device(c10::kCPU));
  EXPECT_EQ(meter().live(), 0) << "the CPU's allocator counts for itself";
  reports.reset();
  report(block(0), 512);
  EXPECT_EQ(meter().live(), 0);
}

}  // namespace
}  // namespace infinipipe
