#include "data/blend.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// Below: the product of two numbers of this size fits 64 bits.
constexpr double kUnits = 0x1.0p30;

}  // namespace

Blend::Blend(const std::vector<double>& weights) {
  INFINIPIPE_ASSERT(!weights.empty(), "a blend of nothing");
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  sums_.push_back(0);
  for (const double weight : weights) {
    INFINIPIPE_ASSERT(weight > 0.0 && std::isfinite(total), "a weight that makes no sense");
    units_.push_back(std::max<std::int64_t>(1, std::llround(weight / total * kUnits)));
    sums_.push_back(sums_.back() + units_.back());
  }
}

double Blend::share(std::size_t set) const {
  return static_cast<double>(units_[set]) / static_cast<double>(sums_.back());
}

std::int64_t Blend::left_of(std::int64_t n, std::size_t begin, std::size_t middle,
                            std::size_t end) const {
  const std::int64_t all = sum(begin, end);
  const std::int64_t left = sum(begin, middle);
  return n / all * left + (n % all * left + all / 2) / all;
}

Blend::Place Blend::at(std::int64_t position) const {
  std::size_t begin = 0;
  std::size_t end = sets();
  while (end - begin > 1) {
    const std::size_t middle = begin + (end - begin) / 2;
    const std::int64_t left = left_of(position, begin, middle, end);
    if (left_of(position + 1, begin, middle, end) > left) {
      end = middle;
      position = left;
    } else {
      begin = middle;
      position -= left;
    }
  }
  return {begin, position};
}

void Blend::count(std::int64_t n, std::size_t begin, std::size_t end,
                  std::vector<std::int64_t>& counts) const {
  if (end - begin == 1) {
    counts[begin] = n;
    return;
  }
  const std::size_t middle = begin + (end - begin) / 2;
  const std::int64_t left = left_of(n, begin, middle, end);
  count(left, begin, middle, counts);
  count(n - left, middle, end, counts);
}

std::vector<std::int64_t> Blend::counts(std::int64_t positions) const {
  std::vector<std::int64_t> counts(sets());
  count(positions, 0, sets(), counts);
  return counts;
}

}  // namespace infinipipe
