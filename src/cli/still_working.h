// A sign of life from work that cannot say how far it is.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "cli/console.h"

namespace infinipipe::cli {

// While it lives, a thread of its own shows "WHAT: 20 s so far" on the console's progress line,
// which nobody else may use meanwhile; work that takes less than ten seconds shows nothing.
class StillWorking final {
 public:
  StillWorking(Console& console, std::string what);
  ~StillWorking();
  StillWorking(const StillWorking&) = delete;
  StillWorking& operator=(const StillWorking&) = delete;

 private:
  void tell();

  Console& console_;
  std::string what_;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace infinipipe::cli
