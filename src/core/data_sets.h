// data.path as text: one prefix of a data set, or several with weights.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "infinipipe/core/config.h"

namespace infinipipe {

// What the text names. Three forms:
//   data/code                        a prefix, whatever characters it has
//   data/code:0.7,data/books:0.3     PREFIX:WEIGHT, separated by commas, at least two of them
//   0.7 data/code 0.3 data/books     Megatron's: weight and prefix by turns, at least two of each
// Text that is none of the last two is a prefix. Throws InputError("data.path", ...) for a list of
// which only some parts have a weight, a weight that is not a number above 0 and at most 10^9, a
// prefix that stands twice, and more than kMostDataSets sets. Empty text: no set.
std::vector<WeightedData> parse_data_sets(std::string_view text);

// The second form, or the prefix alone where there is one: parse_data_sets() gives the same sets
// again. Throws InputError where a prefix of a list has a comma or begins with a blank, which
// the text could not hold.
std::string data_sets_text(const std::vector<WeightedData>& sets);

}  // namespace infinipipe
