// How fast this machine is today against its profile: a slow correction from measured steps.
#pragma once

#include <deque>
#include <vector>

#include "infinipipe/base/json.h"
#include "infinipipe/core/plan.h"
#include "infinipipe/core/trace.h"

namespace infinipipe {

// The pace of a stage is measured busy time over what the profile says of the same instructions;
// 1.1: a tenth slower. Plans are made ahead, so the plan of step s only knows of steps up to
// s - ahead - 1: whatever the threads' timing, the same history gives the same plans. One thread.
class Calibrator final {
 public:
  // `on` false: every pace is 1 and nothing is remembered.
  Calibrator(int stages, int ahead, bool on);

  // After a step; `plan` is the one that ran, its prediction present.
  void observe(int step, const Plan& plan, const Trace& measured);

  // One pace a stage for planning `step`: the median of the last kWindow steps that its plan may
  // know of, in steps of 1/64; empty where there are none yet.
  std::vector<double> pace_for(int step) const;

  // What a resumed run needs in order to plan as this one would: versioned JSON.
  Json state() const;
  // Throws InputError for another version or number of stages.
  void restore(const JsonView& state);

  static constexpr int kWindow = 9;

 private:
  struct Observation {
    int step = 0;
    std::vector<double> pace;
  };

  std::size_t stages_;
  int ahead_;
  bool on_;
  std::deque<Observation> observations_;  // by step, as many as plans to come may need
};

}  // namespace infinipipe
