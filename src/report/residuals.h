// Predicted against measured durations: as a table by series and kind, and as one self-contained
// page with a scatter plot.
#pragma once

#include <string>
#include <vector>

#include "infinipipe/base/units.h"

namespace infinipipe {

struct ResidualPoint {
  std::string series;  // "forward"
  std::string kind;    // of chunk; may be empty
  std::string label;   // for hovering
  Seconds measured = 0.0;
  Seconds predicted = 0.0;
};

// A row for each series and kind: how many, the median and 95th percentile of
// |predicted / measured - 1|, and the median of predicted / measured - 1 (the bias). Points that
// were measured as 0 are left out.
std::string residual_table(const std::vector<ResidualPoint>& points);

// Both axes logarithmic; colours are series. Throws RunError where the file cannot be written.
void write_residuals_html(const std::string& path, const std::string& title,
                          const std::vector<ResidualPoint>& points);

}  // namespace infinipipe
