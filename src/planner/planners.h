// The table of planners: the one place where a planner's name, title, help and maker meet. The
// factory, comparisons, help, errors, figures and pages read it, and docs/planner.md is checked
// against it. A new planner is a row in planners.cpp and the file that it is made from.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/names.h"
#include "infinipipe/core/config.h"
#include "infinipipe/planner/planner.h"

namespace infinipipe {

class BoundContext;  // what a planner plans on: src/planner/bound_context.h

struct PlannerRow {
  const char* name;   // in configurations, on the command line, in plan.json
  const char* title;  // in figures and pages
  const char* line;   // one line for help and docs
  // `contexts`: one, or one for each level of keeping that a planner mixes, most bytes first.
  std::unique_ptr<Planner> (*make)(const PlannerRow& row,
                                   std::vector<std::shared_ptr<const BoundContext>> contexts);
  // Whether comparisons count the gathers of sharded states that its chunks are too short to hide.
  // No planner takes these into account. A planner whose users tune the size of slices would
  // therefore be driven to small slices that then pay for them, which would be unfair.
  bool pays_exposed_gathers = false;
  // Whether, with `recompute_keeps = "auto"`, it mixes the levels of keeping that the profile
  // knows. The others recompute whole layers, as their papers do.
  bool mixes_keeping = false;
  PassSet passes = {};  // the passes of the elastic planner (core/passes.h) that it may run
  // Above 0: unless the configuration fixes a slice size it is not tuned, but the longest
  // sequence's tokens over this number.
  int fixed_slices = 0;
};

// The default one first, then in the order in which lists show them.
std::span<const PlannerRow> planners();

// Throws InputError for an unknown name, naming the nearest.
const PlannerRow& planner_row(std::string_view name);

// Rows that code refers to. The table may have more.
namespace planner_name {
inline constexpr const char* kElastic = kDefaultPlanner;
inline constexpr const char* kPaper = "epp-1f1b";
inline constexpr const char* kPacked = "1f1b";
inline constexpr const char* kSlices = "seq1f1b";
inline constexpr const char* kFixedSlices = "seq1f1b-fixed";
inline constexpr const char* kMepipe = "mepipe";
inline constexpr const char* kGpipe = "gpipe";
}  // namespace planner_name

}  // namespace infinipipe
