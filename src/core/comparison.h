// The same batches under several systems: what `compare` found, as plain values.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "infinipipe/base/json.h"
#include "infinipipe/base/units.h"
#include "infinipipe/core/config.h"

namespace infinipipe {

// One system on one batch. Where `status` is not "ok" only batch, planner, status and reason count.
struct ComparisonRow {
  int batch = 0;
  std::string planner;
  std::string status;  // "ok", "out_of_memory"
  std::string reason;
  Seconds seconds = 0.0;
  double tokens_per_second = 0.0;
  double bubble = 0.0;
  std::vector<Bytes> peak_bytes;
  Seconds lower_bound = 0.0;          // of what this system optimises over
  Seconds cluster_lower_bound = 0.0;  // of any pipeline plan of this batch on this cluster; 0: none
  Seconds plan_seconds = 0.0;
  Json settings;
};

struct ComparisonSummary {
  std::string planner;
  int batches = 0;             // that it could run
  Seconds seconds_mean = 0.0;  // over those
  double gap_mean = 0.0;       // seconds / lower_bound - 1
  // Seconds of this system / seconds of the reference, over batches that both could run; 0: none.
  double speedup_mean = 0.0;
  double speedup_min = 0.0;
  double speedup_max = 0.0;
};

struct Comparison {
  std::string title;
  std::string machine;
  int devices = 0;
  int layers = 0;
  std::string reference = kDefaultPlanner;  // whose speedup the summary states
  std::vector<Tokens> batch_tokens;
  std::vector<std::string> planners;
  std::vector<ComparisonRow> rows;  // by batch, then in the order of `planners`
  Seconds allowance = 0.0;  // of a published experiment: added to each step where it is stated
  Json notes;               // object: what else the settings were

  // One for each planner, in order.
  std::vector<ComparisonSummary> summary() const;
};

// {"format": "infinipipe.compare", "version": 1, "results": [...], "summary": [...]}.
Json comparison_to_json(const Comparison& comparison);

}  // namespace infinipipe
