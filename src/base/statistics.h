// Order statistics of small samples.
#pragma once

#include <vector>

namespace infinipipe {

// The value below which `share` (0..1) of the values lie, interpolated between neighbours; 0 for no
// values.
double quantile(std::vector<double> values, double share);

// quantile(values, 0.5): the middle value, or the mean of the two middle ones.
double median(std::vector<double> values);

}  // namespace infinipipe
