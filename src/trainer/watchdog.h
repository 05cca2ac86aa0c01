// Sees a stage that no longer moves.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "infinipipe/base/units.h"
#include "runtime/engine.h"

namespace infinipipe {

// A thread that looks at what the stages do, as long as the object lives. Only time in which this
// process ran counts: one that was stopped and went on is not taken for a stalled one.
class Watchdog final {
 public:
  using Status = std::function<std::vector<StageStatus>()>;
  using Stalled = std::function<void(const std::string&)>;

  // `stalled` is called once, on the watchdog's thread, when a stage has been at one instruction
  // for `limit`; the text names stage, instruction and step. limit 0, or no `stalled`: nobody
  // watches.
  Watchdog(Status status, Seconds limit, Stalled stalled);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch();

  Status status_;
  Seconds limit_;
  Stalled stalled_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace infinipipe
