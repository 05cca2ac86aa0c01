// FlexSP's assignment problem (arXiv 2412.01523, section 4): for one micro-batch choose groups
// whose degrees sum to the devices, and a group for every sequence, so that the slowest group ends
// first.
#pragma once

#include <vector>

#include "baselines/device_group_cost.h"

namespace infinipipe {

struct FlexGroup {
  int choice = 0;            // index into the costs
  std::vector<int> members;  // indices into the lengths
  GroupLoad load;
};

struct FlexAssignment {
  bool feasible = false;          // false: no assignment was found
  std::vector<FlexGroup> groups;  // with members only
  Seconds seconds = 0.0;          // of the slowest group
  Seconds lower_bound = 0.0;      // proven; also where nothing was found
  bool optimal = false;           // seconds is proven to be the least
};

struct FlexLimits {
  int configurations = 4096;  // enumerate all multisets of degrees up to so many, else climb
  int refined = 24;           // of those, how many are searched closely
  int nodes = 20000;          // of the exact search, over all configurations
  int exact_sequences = 32;   // more than these are not searched exactly
};

// `lengths` in descending order, each >= 1; `costs` by ascending degree, the same devices and
// recomputation. Deterministic. Sources: longest first onto the group that would end first;
// MULTIFIT by bisection; moves and swaps off the slowest group; then an exact search by branch and
// bound.
FlexAssignment assign_groups(const std::vector<Tokens>& lengths,
                             const std::vector<DeviceGroupCost>& costs, int devices,
                             const FlexLimits& limits = {});

// A time that no assignment can beat: all devices are busy, and every sequence runs at the degree
// that is cheapest among those that fit in memory and within this time. O(distinct lengths x
// degrees).
Seconds assignment_lower_bound(const std::vector<Tokens>& lengths,
                               const std::vector<DeviceGroupCost>& costs, int devices);

}  // namespace infinipipe
