// How the analytic systems put sequences together. Everything is by index into a list of lengths
// and deterministic: ties go to the lower index.
#pragma once

#include <functional>
#include <vector>

#include "infinipipe/base/units.h"

namespace infinipipe {

using Bin = std::vector<int>;  // indices of lengths

// Indices by descending length.
std::vector<int> descending(const std::vector<Tokens>& lengths);

// Longest first, each into the bin that has the fewest tokens left after it. No length exceeds
// `capacity`.
// O(n log n).
std::vector<Bin> best_fit_decreasing(const std::vector<Tokens>& lengths, Tokens capacity);

// `bins` bins of near equal cost: longest first, each into the cheapest bin that has the tokens.
// Empty where some length fits in none. `cost`: of one length.
std::vector<Bin> balanced_bins(const std::vector<Tokens>& lengths, int bins, Tokens capacity,
                               const std::function<double(Tokens)>& cost);

// FlexSP's blaster: by descending length cut into `count` runs, none empty, with the least largest
// token sum; among those the published programme's choice, whose last runs are as long as they can
// be. Empty where count < 1 or above the number of lengths. O(count * n log tokens).
std::vector<Bin> blast(const std::vector<Tokens>& lengths, int count);

}  // namespace infinipipe
