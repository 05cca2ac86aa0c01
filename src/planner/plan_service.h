// Plans for coming steps, made on spare threads while the current one trains.
#pragma once

#include <functional>
#include <memory>

#include "infinipipe/planner/planner.h"

namespace infinipipe {

struct PlanServiceOptions {
  int ahead = 2;    // plans made beyond the step that was asked for; 0: plan when asked
  int threads = 1;  // >= 1; not used where ahead is 0
  int first = 0;    // steps [first, end) exist
  int end = 0;
};

// The plan of a step depends on the step alone, whatever the threads' timing: the service adds
// nothing to what the planner makes of the request. Planning of a step begins at the earliest when
// a step at most `ahead` before it was asked for, lower steps first.
class PlanService final {
 public:
  struct Ready {
    Plan plan;
    Seconds waited = 0.0;     // how long get() stood still for it; 0 where it was made before
    Seconds processor = 0.0;  // that making it took
  };

  // `request` gives a step's batch. It is called by the thread that calls the constructor or get(),
  // once per step in ascending order as long as steps are asked for in that order.
  PlanService(std::shared_ptr<const Planner> planner, std::function<PlanRequest(int)> request,
              const PlanServiceOptions& options);
  // Waits for plans that are being made (a planner cannot be interrupted), drops the others.
  ~PlanService();
  PlanService(const PlanService&) = delete;
  PlanService& operator=(const PlanService&) = delete;

  // The plan of `step`; plans of earlier steps are forgotten, and made again if asked for again.
  // Rethrows what request or planner threw for this step; other steps are not affected.
  // Throws InputError for a step outside [first, end). One thread at a time.
  Ready get(int step);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace infinipipe
