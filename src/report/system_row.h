// One system's figures over all its batches, as the table and the page show them.
#pragma once

#include <string>
#include <vector>

#include "core/comparison.h"

namespace infinipipe {

struct SystemRow {
  ComparisonSummary summary;
  double tokens_per_second = 0.0;  // tokens of its batches / their seconds
  double bubble = 0.0;             // mean
  Bytes peak = 0.0;                // the highest
  Seconds plan_mean = 0.0;
  std::string settings;    // those of most batches, the earliest among equals
  int settings_count = 0;  // batches with them
  std::string reason;      // of the first batch that it could not run
};

std::vector<SystemRow> system_rows(const Comparison& comparison);

}  // namespace infinipipe
