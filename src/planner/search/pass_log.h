// What the passes of one plan took and gained.
#pragma once

#include <array>
#include <chrono>
#include <cmath>
#include <vector>

#include "infinipipe/core/passes.h"

namespace infinipipe {

class PassLog final {
 public:
  // Calls `run` and adds its time to the pass. `best` returns the seconds of the fastest step known
  // so far (infinite: none is); the pass's gain grows by what `run` takes off it. Exceptions of
  // `run` go through, and its time counts then too.
  template <class Best, class Run>
  void run(Pass pass, const Best& best, const Run& run) {
    const Seconds before = best();
    const Timer timer(entry(pass));
    run();
    const Seconds after = best();
    if (std::isfinite(before) && after < before) entry(pass).report.gain += before - after;
  }

  // Of the passes that ran, in the table's order.
  std::vector<PassReport> reports() const {
    std::vector<PassReport> list;
    for (const PassRow& row : kPasses) {
      const Entry& one = entries_[static_cast<std::size_t>(row.value)];
      if (!one.ran) continue;
      list.push_back(one.report);
      list.back().name = row.name;
    }
    return list;
  }

 private:
  struct Entry {
    bool ran = false;
    PassReport report;
  };

  // Adds its lifetime to the entry's seconds.
  class Timer final {
   public:
    explicit Timer(Entry& entry) : entry_(entry) { entry_.ran = true; }
    ~Timer() {
      const auto taken = std::chrono::steady_clock::now() - started_;
      entry_.report.seconds += std::chrono::duration<double>(taken).count();
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

   private:
    Entry& entry_;
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  };

  Entry& entry(Pass pass) { return entries_[static_cast<std::size_t>(pass)]; }

  std::array<Entry, kPasses.size()> entries_;
};

}  // namespace infinipipe
