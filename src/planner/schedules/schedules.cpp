#include "planner/schedules/schedules.h"

#include <array>

#include "planner/schedules/held_weights.h"

namespace infinipipe {

namespace {

InstructionLists by_turns(const OrderRequest& request) {
  return one_f_one_b(request.pipelines, request.cost.stage_count());
}

InstructionLists forwards_first(const OrderRequest& request) {
  return all_forward_all_backward(request.pipelines, request.cost.stage_count());
}

InstructionLists weights_held(const OrderRequest& request) {
  if (request.forward_only) return by_turns(request);
  return one_f_one_b_held(request.pipelines.front(), request.lengths, request.cost,
                          request.held_weights);
}

constexpr std::array kSchedules = {
    ScheduleRow{.name = schedule_name::kOneFOneB,
                .title = "1F1B",
                .line = "one forward and one backward by turns",
                .make = by_turns},
    ScheduleRow{.name = schedule_name::kSolvedOneFOneB,
                .title = "1F1B, solved",
                .line = "the same in pipelines, recomputation by the integer programme"},
    ScheduleRow{.name = schedule_name::kList,
                .title = "List",
                .line = "on the simulated clock, a free stage takes what helps most"},
    ScheduleRow{.name = schedule_name::kMepipe,
                .title = "MEPipe",
                .line = "1F1B with split backwards, weight gradients in the waits",
                .make = weights_held,
                .holds_weights = true},
    ScheduleRow{.name = schedule_name::kGpipe,
                .title = "GPipe",
                .line = "all forwards, then all backwards",
                .make = forwards_first},
};

}  // namespace

std::span<const ScheduleRow> schedules() { return kSchedules; }

const ScheduleRow& schedule_row(std::string_view name) {
  return named(schedules(), name, "planner.schedule", "unknown schedule");
}

}  // namespace infinipipe
