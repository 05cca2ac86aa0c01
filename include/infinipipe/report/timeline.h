// One self-contained HTML page of a step: stages over time, memory against the budget, and
// predicted beside measured. No network, no other files.
#pragma once

#include <string>

#include "infinipipe/core/plan.h"
#include "infinipipe/core/trace.h"

namespace infinipipe {

struct TimelineOptions {
  std::string title;          // empty: made from the plan
  Bytes limit = 0.0;          // bytes per stage, drawn as the budget; 0: the plan's, if it has one
  Seconds lower_bound = 0.0;  // 0: the plan's, if it has one
};

// `measured` may be null. Traces must be of this plan; events of chunks that it does not have are
// left out. Pure; size grows with events (about 60 bytes each).
std::string html_timeline(const Plan& plan, const Trace& predicted, const Trace* measured = nullptr,
                          const TimelineOptions& options = {});
void write_html_timeline(const std::string& path, const Plan& plan, const Trace& predicted,
                         const Trace* measured = nullptr, const TimelineOptions& options = {});

}  // namespace infinipipe
