// The table of schedules. A schedule is the order in which each stage runs its operations; its name
// stands in a plan's `planner.schedule` and `planner.candidates`. docs/extend/schedule.md says how
// to add one.
#pragma once

#include <span>
#include <vector>

#include "infinipipe/core/names.h"
#include "infinipipe/cost/cost_model.h"
#include "planner/schedules/one_f_one_b.h"

namespace infinipipe {

enum class ScheduleKind { kOneFOneB, kSolvedOneFOneB, kList, kMepipe, kGpipe };

// What an ordinary schedule orders.
struct OrderRequest {
  const std::vector<Pipeline>& pipelines;
  const std::vector<Tokens>& lengths;  // of the sequences that their slices name
  const CostModel& cost;
  // For a schedule that holds weight gradients back: at most so many a stage; -1: any number.
  int held_weights = 0;
  bool forward_only = false;
};

struct ScheduleRow {
  ScheduleKind value;
  const char* name;
  const char* title;
  const char* line;  // one line for docs
  // Orders given chunks: one list of instructions for each stage. Null where only a search can find
  // the order, as it depends on more than the chunks.
  InstructionLists (*make)(const OrderRequest& request) = nullptr;
  bool holds_weights = false;  // it reads OrderRequest::held_weights
};

// In the order of the enum.
std::span<const ScheduleRow> schedules();

const ScheduleRow& row_of(ScheduleKind kind);
const char* to_string(ScheduleKind kind);

}  // namespace infinipipe
