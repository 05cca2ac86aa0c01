#include "base/statistics.h"

#include <gtest/gtest.h>

namespace infinipipe {
namespace {

TEST(Statistics, MedianIsTheMiddle) {
  EXPECT_EQ(median({}), 0.0);
  EXPECT_EQ(median({7.0}), 7.0);
  EXPECT_EQ(median({9.0, 1.0, 2.0}), 2.0);
  EXPECT_EQ(median({4.0, 1.0, 2.0, 100.0}), 3.0);
}

TEST(Statistics, QuantileInterpolates) {
  EXPECT_EQ(quantile({3.0, 1.0, 2.0}, 0.0), 1.0);
  EXPECT_EQ(quantile({3.0, 1.0, 2.0}, 1.0), 3.0);
  EXPECT_DOUBLE_EQ(quantile({0.0, 10.0}, 0.25), 2.5);
  EXPECT_DOUBLE_EQ(quantile({0.0, 1.0, 2.0, 3.0, 4.0}, 0.95), 3.8);
}

}  // namespace
}  // namespace infinipipe
