#include "data/blend.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numeric>

#include "base/random.h"

namespace infinipipe {
namespace {

using Counts = std::vector<std::int64_t>;

std::vector<double> random_weights(Random& random) {
  std::vector<double> weights(static_cast<std::size_t>(random.between(1, 20)));
  for (double& weight : weights) weight = std::exp(3.0 * random.normal());
  return weights;
}

// What the header promises of any beginning, counted place by place; and the random access to it.
TEST(Blend, CountsStayNearTheSharesWhateverTheWeights) {
  Random random(1);
  for (int round = 0; round < 60; ++round) {
    const std::vector<double> weights = random_weights(random);
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    const Blend blend(weights);
    const double most = 0.5 * static_cast<double>(std::bit_width(weights.size() - 1)) + 1e-5;
    Counts counts(weights.size());
    for (std::int64_t n = 0; n < 2000; ++n) {
      if (n % 100 == 0) {
        ASSERT_EQ(blend.counts(n), counts);
      }
      const Blend::Place place = blend.at(n);
      ASSERT_EQ(place.index, counts[place.set]++);
      for (std::size_t i = 0; i < weights.size(); ++i) {
        const double share = std::max(weights[i] / total, 0x1.0p-30);
        ASSERT_NEAR(static_cast<double>(counts[i]), share * static_cast<double>(n + 1), most)
            << "set " << i << " of " << weights.size() << " after " << n + 1;
      }
    }
  }
}

TEST(Blend, FarPlacesNeedNoOthers) {
  Random random(2);
  for (int round = 0; round < 2000; ++round) {
    const Blend blend(random_weights(random));
    const std::int64_t n = random.between(0, std::int64_t{1} << 61);
    const Counts before = blend.counts(n);
    const Blend::Place place = blend.at(n);
    EXPECT_EQ(place.index, before[place.set]);
    Counts after = before;
    ++after[place.set];
    ASSERT_EQ(blend.counts(n + 1), after);
    ASSERT_EQ(std::accumulate(before.begin(), before.end(), std::int64_t{0}), n);
  }
}

TEST(Blend, StaysTheSameFromReleaseToRelease) {
  const Blend blend({0.5, 0.3, 0.2});
  Counts sets;
  for (int n = 0; n < 12; ++n) sets.push_back(static_cast<std::int64_t>(blend.at(n).set));
  EXPECT_EQ(sets, (Counts{0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 0, 1}));
}

TEST(Blend, OnlyTheRatiosCount) {
  EXPECT_EQ(Blend({7, 3}).units(), Blend({0.7, 0.3}).units());
  EXPECT_NE(Blend({7, 3}).units(), Blend({3, 7}).units());
  EXPECT_DOUBLE_EQ(Blend({5}).share(0), 1.0);
}

}  // namespace
}  // namespace infinipipe
