#include "trainer/sampling.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

TEST(Sampling, TemperatureZeroTakesTheLikeliest) {
  Random random(1);
  EXPECT_EQ(sample_token({0.0, 3.0, 3.0, -1.0}, 0.0, 1.0, random), 1);
}

TEST(Sampling, RefusesLogitsThatAreNoNumbers) {
  Random random(1);
  EXPECT_THROW(sample_token({0.0, std::nan(""), 1.0}, 1.0, 1.0, random), RunError);
  EXPECT_THROW(sample_token({0.0, std::numeric_limits<double>::infinity()}, 0.0, 1.0, random),
               RunError);
}

TEST(Sampling, FrequenciesFollowTheSoftmax) {
  Random random(2);
  std::array<int, 3> counts{};
  for (int i = 0; i < 30000; ++i) {
    ++counts[sample_token({std::log(0.2), std::log(0.5), std::log(0.3)}, 1.0, 1.0, random)];
  }
  EXPECT_NEAR(counts[0] / 3e4, 0.2, 0.01);
  EXPECT_NEAR(counts[1] / 3e4, 0.5, 0.01);
  EXPECT_NEAR(counts[2] / 3e4, 0.3, 0.01);
}

TEST(Sampling, TopPCutsTheTail) {
  Random random(3);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_NE(sample_token({std::log(0.2), std::log(0.5), std::log(0.3)}, 1.0, 0.79, random), 0);
    EXPECT_EQ(sample_token({std::log(0.2), std::log(0.5), std::log(0.3)}, 1.0, 1e-9, random), 1);
  }
}

TEST(Sampling, LowTemperatureSharpens) {
  Random random(4);
  int likeliest = 0;
  for (int i = 0; i < 1000; ++i) {
    likeliest += sample_token({std::log(0.4), std::log(0.6)}, 0.1, 1.0, random) == 1 ? 1 : 0;
  }
  EXPECT_GT(likeliest, 950);  // 0.6^10 / (0.6^10 + 0.4^10) = 0.983
}

}  // namespace
}  // namespace infinipipe
