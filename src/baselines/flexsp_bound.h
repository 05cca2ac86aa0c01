// Proven bounds on FlexSP's assignment problem, overall and for one multiset of degrees.
#pragma once

#include <vector>

#include "baselines/device_group_cost.h"

namespace infinipipe {

// How many groups of each cost, in the order of the costs.
using Configuration = std::vector<int>;

class FlexBound final {
 public:
  FlexBound(const std::vector<Tokens>& lengths, const std::vector<DeviceGroupCost>& costs,
            int devices);

  // Over every configuration.
  Seconds overall() const { return overall_; }
  // A lower bound for assignments to these groups, if they take less than `upper`: none takes less
  // than the smaller of the result and `upper`. `effort`: how many steps the multipliers are
  // improved by; 0: only the bound by device time.
  Seconds of(const Configuration& configuration, Seconds upper, int effort) const;

 private:
  struct Kind {
    Tokens length = 0;
    int count = 0;
    std::vector<Seconds> seconds;  // by cost; infinite where memory forbids
  };

  bool possible(Seconds seconds) const;

  std::vector<Kind> kinds_;
  const std::vector<DeviceGroupCost>* costs_;
  int devices_;
  Seconds constant_ = 0.0;  // the least over degrees
  Seconds floor_ = 0.0;     // gathers
  Seconds overall_ = 0.0;
};

}  // namespace infinipipe
