#include "base/number_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace infinipipe {
namespace {

TEST(NumberText, IsShortAndReadsBack) {
  EXPECT_EQ(number_text(3.0), "3");
  EXPECT_EQ(number_text(-0.5), "-0.5");
  EXPECT_EQ(number_text(0.1), "0.1");
  EXPECT_EQ(number_text(1e-9), "1e-09");
  EXPECT_EQ(number_text(1e14), "100000000000000");
  EXPECT_EQ(number_text(1e308), "1e+308");
}

TEST(NumberText, WhatIsNotFiniteHasAName) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  EXPECT_EQ(number_text(kInfinite), "inf");
  EXPECT_EQ(number_text(-kInfinite), "-inf");
  EXPECT_EQ(number_text(std::nan("")), "nan");
  EXPECT_EQ(number_text(-std::nan("")), "nan");
}

}  // namespace
}  // namespace infinipipe
