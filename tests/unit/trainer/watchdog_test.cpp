#include "trainer/watchdog.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace infinipipe {
namespace {

// What two stages are at, and how often somebody looked.
class Stages final {
 public:
  std::vector<StageStatus> look() {
    const std::lock_guard lock(mutex_);
    ++looks_;
    if (moving_) ++status_[0].begun;
    looked_.notify_all();
    return status_;
  }
  void set(std::size_t stage, const StageStatus& status) {
    const std::lock_guard lock(mutex_);
    status_[stage] = status;
  }
  void move_first() {
    const std::lock_guard lock(mutex_);
    moving_ = true;
  }
  void wait_for_looks(int count) {
    std::unique_lock lock(mutex_);
    looked_.wait(lock, [&] { return looks_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable looked_;
  std::vector<StageStatus> status_{{false, "F0.0", 0, 1, "stage 0"},
                                   {false, "F0.0", 0, 1, "stage 1"}};
  bool moving_ = false;
  int looks_ = 0;
};

TEST(Watchdog, NamesTheStageThatStandsStill) {
  Stages stages;
  stages.set(0, {true, "F0.1", 12, 1, "stage 0"});
  stages.set(1, {true, "B0.3", 12, 7, "stage 1"});
  stages.move_first();
  std::promise<std::string> said;
  const Watchdog watchdog([&] { return stages.look(); }, 0.05,
                          [&](const std::string& what) { said.set_value(what); });
  EXPECT_EQ(said.get_future().get(),
            "step 12: stage 1, B0.3: has run for more than 50.0 ms, expected less "
            "(runtime.stalled_after_seconds)");
}

// Waiting stages, and running ones that go from one instruction to the next, are left in peace
// however long it takes.
TEST(Watchdog, LeavesOthersInPeace) {
  Stages stages;
  stages.set(0, {true, "F0.1", 0, 1, "stage 0"});
  stages.move_first();
  std::atomic<int> said{0};
  {
    const Watchdog watchdog([&] { return stages.look(); }, 0.02,
                            [&](const std::string&) { ++said; });
    stages.wait_for_looks(50);
  }
  EXPECT_EQ(said, 0);
}

TEST(Watchdog, WithoutALimitNobodyWatches) {
  const Watchdog none([]() -> std::vector<StageStatus> { throw std::logic_error("looked"); }, 0.0,
                      [](const std::string&) {});
  const Watchdog deaf([]() -> std::vector<StageStatus> { throw std::logic_error("looked"); }, 0.05,
                      {});
  // Time for several looks: one would throw on the watchdog's thread and end the program.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
}

}  // namespace
}  // namespace infinipipe
