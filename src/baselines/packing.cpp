#include "baselines/packing.h"

#include <algorithm>
#include <numeric>
#include <queue>
#include <set>

#include "infinipipe/base/error.h"

namespace infinipipe {

std::vector<int> descending(const std::vector<Tokens>& lengths) {
  std::vector<int> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return lengths[static_cast<std::size_t>(a)] > lengths[static_cast<std::size_t>(b)];
  });
  return order;
}

std::vector<Bin> best_fit_decreasing(const std::vector<Tokens>& lengths, Tokens capacity) {
  std::vector<Bin> bins;
  std::set<std::pair<Tokens, int>> open_bins;  // (tokens left, bin)
  for (const int i : descending(lengths)) {
    const Tokens length = lengths[static_cast<std::size_t>(i)];
    INFINIPIPE_ASSERT(length <= capacity, "a sequence above the bins' capacity");
    const auto found = open_bins.lower_bound({length, 0});
    if (found == open_bins.end()) {
      open_bins.insert({capacity - length, static_cast<int>(bins.size())});
      bins.push_back({i});
      continue;
    }
    const auto [left, bin] = *found;
    open_bins.erase(found);
    open_bins.insert({left - length, bin});
    bins[static_cast<std::size_t>(bin)].push_back(i);
  }
  return bins;
}

std::vector<Bin> balanced_bins(const std::vector<Tokens>& lengths, int bins, Tokens capacity,
                               const std::function<double(Tokens)>& cost) {
  std::vector<Bin> result(static_cast<std::size_t>(bins));
  std::vector<Tokens> used(result.size(), 0);
  std::set<std::pair<double, int>> cheapest;
  for (int b = 0; b < bins; ++b) cheapest.insert({0.0, b});
  for (const int i : descending(lengths)) {
    const Tokens length = lengths[static_cast<std::size_t>(i)];
    const auto found = std::find_if(cheapest.begin(), cheapest.end(), [&](const auto& entry) {
      return used[static_cast<std::size_t>(entry.second)] + length <= capacity;
    });
    if (found == cheapest.end()) return {};
    const auto [seconds, bin] = *found;
    cheapest.erase(found);
    cheapest.insert({seconds + cost(length), bin});
    used[static_cast<std::size_t>(bin)] += length;
    result[static_cast<std::size_t>(bin)].push_back(i);
  }
  return result;
}

std::vector<Bin> blast(const std::vector<Tokens>& lengths, int count) {
  const int n = static_cast<int>(lengths.size());
  if (count < 1 || count > n) return {};
  const std::vector<int> order = descending(lengths);
  std::vector<Tokens> before(order.size() + 1, 0);  // tokens of the first i
  for (std::size_t i = 0; i < order.size(); ++i) {
    before[i + 1] = before[i] + lengths[static_cast<std::size_t>(order[i])];
  }
  const auto at = [&](int i) { return before[static_cast<std::size_t>(i)]; };
  // Can the first `end` be cut in `runs` runs, none empty and none above `most`? Fewer runs than
  // asked for can always be cut further while there are as many sequences.
  const auto fits = [&](int end, int runs, Tokens most) {
    int begin = 0;
    for (int r = 0; r < runs && begin < end; ++r) {
      const auto last =
          std::upper_bound(before.begin() + begin, before.begin() + end + 1, at(begin) + most);
      const int next = static_cast<int>(last - before.begin()) - 1;
      if (next == begin) return false;
      begin = next;
    }
    return begin >= end;
  };
  std::vector<Bin> runs(static_cast<std::size_t>(count));
  int end = n;
  for (int left = count; left >= 1; --left) {
    Tokens low = 1;
    Tokens high = at(end);
    while (low < high) {
      const Tokens middle = low + (high - low) / 2;
      if (fits(end, left, middle)) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    // The last run begins as early as its sum allows, with a sequence left for each run before it.
    int begin = left == 1 ? 0
                          : static_cast<int>(std::lower_bound(before.begin(), before.begin() + end,
                                                              at(end) - low) -
                                             before.begin());
    begin = std::max(begin, left - 1);
    runs[static_cast<std::size_t>(left - 1)].assign(order.begin() + begin, order.begin() + end);
    end = begin;
  }
  return runs;
}

}  // namespace infinipipe
