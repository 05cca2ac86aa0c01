// Which of several sets each place of an endless sequence is drawn from, by their weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace infinipipe {

// Sets are spread evenly instead of drawn by chance: over any beginning of the sequence each set's
// count is within ceil(log2(sets)) / 2 of its share, and so the counts of any stretch within twice
// that. Shares are the weights over their sum, rounded to 2^-30, and at least that.
//
// The sets are halved again and again; each halving gives places to its left half by rounding
// share x places to the nearest whole number. So a place needs no place before it, and the errors
// of one halving are halved by the next ones. Integers alone: the same on every machine.
class Blend final {
 public:
  // At least one weight; each finite and above 0.
  explicit Blend(const std::vector<double>& weights);

  std::size_t sets() const { return units_.size(); }
  // What the weights became: whole numbers that add up to about 2^30.
  const std::vector<std::int64_t>& units() const { return units_; }
  double share(std::size_t set) const;  // of all places

  struct Place {
    std::size_t set = 0;
    std::int64_t index = 0;  // how many places before it are that set's
  };
  Place at(std::int64_t position) const;  // >= 0
  // How many of the first `positions` places are each set's.
  std::vector<std::int64_t> counts(std::int64_t positions) const;

 private:
  std::int64_t sum(std::size_t begin, std::size_t end) const { return sums_[end] - sums_[begin]; }
  // Of the first n places of sets [begin, end), those of [begin, middle).
  std::int64_t left_of(std::int64_t n, std::size_t begin, std::size_t middle,
                       std::size_t end) const;
  void count(std::int64_t n, std::size_t begin, std::size_t end,
             std::vector<std::int64_t>& counts) const;

  std::vector<std::int64_t> units_;
  std::vector<std::int64_t> sums_;  // of the units before each set, and of all
};

}  // namespace infinipipe
