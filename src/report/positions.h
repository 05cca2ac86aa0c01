// Pictures and tables of the loss by position in the document.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "infinipipe/core/position_loss.h"

namespace infinipipe {

// Of one model on one data set; points in order.
struct PositionCurve {
  std::string name;
  std::vector<PositionLoss> points;
};

// `by_position` of what `eval --json` writes.
nlohmann::ordered_json positions_json(const std::vector<PositionLoss>& points);
// The curve of such a file. Throws InputError naming the file and the field.
PositionCurve read_position_curve(const std::string& path);

// A line for each range of positions, a column for each curve; of several, names stand above.
std::string position_table(const std::vector<PositionCurve>& curves);
// A self-contained page: the curves over position, on a logarithmic axis, and the table.
std::string position_page(const std::vector<PositionCurve>& curves);

}  // namespace infinipipe
