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
    ScheduleRow{.value = ScheduleKind::kOneFOneB,
                .name = kDefaultSchedule,
                .title = "1F1B",
                .line = "one forward and one backward by turns",
                .make = by_turns},
    ScheduleRow{.value = ScheduleKind::kSolvedOneFOneB,
                .name = "1f1b-ilp",
                .title = "1F1B, solved",
                .line = "the same in pipelines, recomputation by the integer programme"},
    ScheduleRow{.value = ScheduleKind::kList,
                .name = "list",
                .title = "List",
                .line = "on the simulated clock, a free stage takes what helps most"},
    ScheduleRow{.value = ScheduleKind::kMepipe,
                .name = "mepipe",
                .title = "MEPipe",
                .line = "1F1B with split backwards, weight gradients in the waits",
                .make = weights_held,
                .holds_weights = true},
    ScheduleRow{.value = ScheduleKind::kGpipe,
                .name = "gpipe",
                .title = "GPipe",
                .line = "all forwards, then all backwards",
                .make = forwards_first},
};

}  // namespace

std::span<const ScheduleRow> schedules() { return kSchedules; }

const ScheduleRow& row_of(ScheduleKind kind) { return kSchedules[static_cast<std::size_t>(kind)]; }

const char* to_string(ScheduleKind kind) { return row_of(kind).name; }

}  // namespace infinipipe
