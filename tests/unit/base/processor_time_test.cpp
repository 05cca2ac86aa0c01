#include "base/processor_time.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace infinipipe {
namespace {

TEST(ProcessorTime, CountsWorkAndNotSleep) {
  const Seconds before = thread_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  const Seconds slept = thread_seconds() - before;
  EXPECT_LT(slept, 0.03);
  while (thread_seconds() < before + slept + 0.005) {
  }
  EXPECT_GT(thread_seconds(), before + slept);
  EXPECT_GE(process_seconds(), thread_seconds()) << "threads are part of it";
}

TEST(ProcessorTime, AThreadHasItsOwn) {
  const Seconds process = process_seconds();
  Seconds theirs = 0.0;
  std::thread([&] {
    const Seconds began = thread_seconds();
    while (thread_seconds() < began + 0.01) {
    }
    theirs = thread_seconds();
  }).join();
  EXPECT_GE(theirs, 0.01);
  EXPECT_GE(process_seconds() - process, 0.009);
}

}  // namespace
}  // namespace infinipipe
