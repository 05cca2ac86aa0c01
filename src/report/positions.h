// Loss by position in the document: what tells whether a model uses a longer context.
#pragma once

#include <string>
#include <vector>

#include "infinipipe/base/units.h"

namespace infinipipe {

struct PositionPoint {
  Tokens begin = 0;  // of the positions that predictions are made at
  Tokens end = 0;
  double targets = 0.0;
  double loss = 0.0;  // mean, natural log
};

// Of one model on one data set; points in order.
struct PositionCurve {
  std::string name;
  std::vector<PositionPoint> points;
};

// What `eval --json` wrote. Throws InputError naming the file and the field.
PositionCurve read_position_curve(const std::string& path);

// A line for each range of positions, a column for each curve.
std::string position_table(const std::vector<PositionCurve>& curves);
// A self-contained page: the curves over position, on a logarithmic axis, and the table.
std::string position_page(const std::vector<PositionCurve>& curves);

}  // namespace infinipipe
