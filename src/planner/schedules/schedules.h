// The table of schedules: in which order a stage runs what it is given. Their names stand in a
// plan's `planner.schedule` and `planner.candidates`.
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
  int held_weights =
      0;  // of a schedule that holds weights: at most so many a stage, -1: any number
  bool forward_only = false;
};

struct ScheduleRow {
  ScheduleKind value;
  const char* name;
  const char* title;
  const char* line;  // one line for docs
  // Null: a search finds the order, and there is none for given chunks alone.
  InstructionLists (*make)(const OrderRequest& request) = nullptr;
  bool holds_weights = false;  // weight gradients may be held back
};

// In the order of the enum.
std::span<const ScheduleRow> schedules();

const ScheduleRow& row_of(ScheduleKind kind);
const char* to_string(ScheduleKind kind);

}  // namespace infinipipe
