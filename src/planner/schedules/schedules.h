// The table of schedules. A schedule is the order in which each stage runs its operations; its name
// stands in a plan's `planner.schedule` and `planner.candidates`. docs/extend/schedule.md says how
// to add one.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "core/names.h"
#include "infinipipe/cost/cost_model.h"
#include "planner/schedules/one_f_one_b.h"

namespace infinipipe {

// What an ordinary schedule orders.
struct OrderRequest {
  // One after the other. The schedule may put the chunks of a pipeline in another order, as
  // make_pipeline() of its chunks; the slices of a sequence stay next to each other.
  std::vector<Pipeline>& pipelines;
  const std::vector<Tokens>& lengths;  // of the sequences that their slices name
  const CostModel& cost;
  // For a schedule that holds weight gradients back: at most so many a stage; -1: any number.
  int held_weights = 0;
  bool forward_only = false;
};

struct ScheduleRow {
  const char* name;
  const char* title;
  const char* line;  // one line for docs
  // Orders given chunks: one list of instructions for each stage. Null where only a search can find
  // the order, as it depends on more than the chunks.
  InstructionLists (*make)(const OrderRequest& request) = nullptr;
  bool holds_weights = false;  // it reads OrderRequest::held_weights
};

// The default one first.
std::span<const ScheduleRow> schedules();

// Throws InputError for an unknown name, naming the nearest.
const ScheduleRow& schedule_row(std::string_view name);

// Rows that code refers to. The table may have more.
namespace schedule_name {
inline constexpr const char* kOneFOneB = kDefaultSchedule;
inline constexpr const char* kSolvedOneFOneB = "1f1b-ilp";
inline constexpr const char* kList = "list";
inline constexpr const char* kMepipe = "mepipe";
inline constexpr const char* kGpipe = "gpipe";
}  // namespace schedule_name

}  // namespace infinipipe
