// Searches for the best list schedule of one chunking. It tries how far stages run ahead, how much
// recomputation the order is made for, and how many weight gradients are split off.
#pragma once

#include <optional>

#include "planner/schedules/list_scheduler.h"
#include "planner/search/schedule.h"

namespace infinipipe {

enum class Thoroughness { kQuick, kDeep };

// The fastest schedule found that fits, or nothing. For each setting it makes an order for an
// assumed recomputation, finds the least recomputation with which that order fits, makes an order
// for that, and so on a few times.
std::optional<Schedule> search_list_schedule(std::shared_ptr<const Cutting> cutting,
                                             Thoroughness thoroughness, Effort& effort);

}  // namespace infinipipe
