#include "cli/still_working.h"

#include <chrono>
#include <utility>

namespace infinipipe::cli {

StillWorking::StillWorking(Console& console, std::string what)
    : console_(console), what_(std::move(what)), thread_([this] { tell(); }) {}

StillWorking::~StillWorking() {
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
  }
  ended_.notify_one();
  thread_.join();
  console_.end_progress();
}

void StillWorking::tell() {
  constexpr std::chrono::seconds kBetween{10};
  std::unique_lock lock(mutex_);
  for (int seconds = 10; !ended_.wait_for(lock, kBetween, [this] { return done_; });
       seconds += 10) {
    console_.progress(what_ + ": " + std::to_string(seconds) + " s so far");
  }
}

}  // namespace infinipipe::cli
