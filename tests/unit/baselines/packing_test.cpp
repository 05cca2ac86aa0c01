#include "baselines/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "support/clusters.h"

namespace infinipipe {
namespace {

Tokens sum_of(const std::vector<Tokens>& lengths, const Bin& bin) {
  Tokens sum = 0;
  for (const int i : bin) sum += lengths[static_cast<std::size_t>(i)];
  return sum;
}

void expect_partition(const std::vector<Tokens>& lengths, const std::vector<Bin>& bins) {
  std::vector<int> all;
  for (const Bin& bin : bins) all.insert(all.end(), bin.begin(), bin.end());
  std::sort(all.begin(), all.end());
  std::vector<int> expected(lengths.size());
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(all, expected);
}

// The obvious way: look at all bins.
std::vector<Bin> plain_best_fit(const std::vector<Tokens>& lengths, Tokens capacity) {
  std::vector<Bin> bins;
  std::vector<Tokens> left;
  for (const int i : descending(lengths)) {
    const Tokens length = lengths[static_cast<std::size_t>(i)];
    std::size_t best = bins.size();
    for (std::size_t b = 0; b < bins.size(); ++b) {
      if (left[b] >= length && (best == bins.size() || left[b] < left[best])) best = b;
    }
    if (best == bins.size()) {
      bins.emplace_back();
      left.push_back(capacity);
    }
    bins[best].push_back(i);
    left[best] -= length;
  }
  return bins;
}

TEST(Packing, BestFitDecreasingIsTheObviousOne) {
  Random random(1);
  for (int round = 0; round < 300; ++round) {
    const auto lengths =
        testing::skewed_lengths(random, static_cast<int>(random.between(1, 60)), 1000);
    const Tokens longest = *std::max_element(lengths.begin(), lengths.end());
    const Tokens capacity = longest + random.between(0, 1000);
    const std::vector<Bin> bins = best_fit_decreasing(lengths, capacity);
    expect_partition(lengths, bins);
    for (const Bin& bin : bins) EXPECT_LE(sum_of(lengths, bin), capacity);
    EXPECT_EQ(bins, plain_best_fit(lengths, capacity));
  }
}

TEST(Packing, BalancedBinsRespectTheCapacity) {
  Random random(2);
  int empty = 0;
  for (int round = 0; round < 300; ++round) {
    const auto lengths =
        testing::skewed_lengths(random, static_cast<int>(random.between(1, 60)), 1000);
    const int count = static_cast<int>(random.between(1, 12));
    const Tokens capacity = random.between(1000, 3000);
    const std::vector<Bin> bins =
        balanced_bins(lengths, count, capacity, [](Tokens n) { return static_cast<double>(n); });
    if (bins.empty()) {
      ++empty;
      continue;
    }
    EXPECT_EQ(static_cast<int>(bins.size()), count);
    expect_partition(lengths, bins);
    for (const Bin& bin : bins) EXPECT_LE(sum_of(lengths, bin), capacity);
  }
  EXPECT_GT(empty, 0);
  EXPECT_LT(empty, 250);
  // Equal lengths spread evenly.
  const std::vector<Bin> even = balanced_bins(std::vector<Tokens>(12, 5), 4, 15,
                                              [](Tokens n) { return static_cast<double>(n); });
  for (const Bin& bin : even) EXPECT_EQ(bin.size(), 3u);
}

// The published dynamic programme, as it stands: of equal largest sums the smallest cut.
std::vector<std::size_t> published_cuts(const std::vector<Tokens>& descending_lengths, int count) {
  const std::size_t n = descending_lengths.size();
  std::vector<Tokens> before(n + 1, 0);
  for (std::size_t i = 0; i < n; ++i) before[i + 1] = before[i] + descending_lengths[i];
  constexpr Tokens kMost = std::numeric_limits<Tokens>::max();
  const auto runs = static_cast<std::size_t>(count);
  std::vector<std::vector<Tokens>> best(n + 1, std::vector<Tokens>(runs + 1, kMost));
  std::vector<std::vector<std::size_t>> cut(n + 1, std::vector<std::size_t>(runs + 1, 0));
  best[0][0] = 0;
  for (std::size_t k = 1; k <= runs; ++k) {
    for (std::size_t i = 1; i <= n; ++i) {
      for (std::size_t j = k - 1; j < i; ++j) {
        if (best[j][k - 1] == kMost) continue;
        const Tokens most = std::max(best[j][k - 1], before[i] - before[j]);
        if (most < best[i][k]) {
          best[i][k] = most;
          cut[i][k] = j;
        }
      }
    }
  }
  std::vector<std::size_t> cuts;
  std::size_t end = n;
  for (std::size_t k = runs; k > 0; --k) {
    cuts.push_back(cut[end][k]);
    end = cut[end][k];
  }
  return {cuts.rbegin(), cuts.rend()};
}

TEST(Packing, BlasterIsThePublishedProgramme) {
  Random random(3);
  for (int round = 0; round < 300; ++round) {
    const int n = static_cast<int>(random.between(1, 40));
    const auto lengths = testing::skewed_lengths(random, n, round % 2 == 0 ? 1000 : 6);
    const int count = static_cast<int>(random.between(1, n));
    const std::vector<Bin> runs = blast(lengths, count);
    ASSERT_EQ(static_cast<int>(runs.size()), count);
    expect_partition(lengths, runs);
    std::vector<Tokens> sorted;
    std::vector<std::size_t> begins;
    for (const Bin& run : runs) {
      EXPECT_FALSE(run.empty());
      begins.push_back(sorted.size());
      for (const int i : run) sorted.push_back(lengths[static_cast<std::size_t>(i)]);
    }
    EXPECT_TRUE(std::is_sorted(sorted.rbegin(), sorted.rend()));
    EXPECT_EQ(begins, published_cuts(sorted, count));
  }
}

TEST(Packing, BlasterRefusesWhatCannotBe) {
  EXPECT_TRUE(blast({5, 6}, 3).empty());
  EXPECT_TRUE(blast({5, 6}, 0).empty());
  EXPECT_TRUE(blast({}, 1).empty());
}

}  // namespace
}  // namespace infinipipe
