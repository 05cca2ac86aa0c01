// The best list schedule of one chunking: how far to run ahead, how much recomputation to count on
// while ordering, which weight gradients to split off.
#pragma once

#include <optional>

#include "planner/search/schedule.h"
#include "planner/schedules/list_scheduler.h"

namespace infinipipe {

enum class Thoroughness { kQuick, kDeep };

// The fastest schedule found that fits, or nothing. For each setting: order with an assumed
// recomputation, find the least recomputation for that order, order again with it, a few times.
std::optional<Schedule> search_list_schedule(std::shared_ptr<const Cutting> cutting,
                                             Thoroughness thoroughness, Effort& effort);

}  // namespace infinipipe
