#include "profile/link_fit.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace infinipipe {
namespace {

// Messages of 100 to 1,000,000 bytes; a few are late for other reasons.
std::vector<MessageLatency> messages(Seconds seconds, double bytes_per_second) {
  Random random(4);
  std::vector<MessageLatency> all;
  for (int i = 0; i < 200; ++i) {
    const auto bytes = static_cast<double>(random.between(100, 1'000'000));
    const double late = i % 10 == 0 ? 1.0 : 0.0;
    all.push_back({bytes, seconds + bytes / bytes_per_second + late});
  }
  return all;
}

TEST(LinkFit, FindsTheLine) {
  const LinkSpeed link = fit_link(messages(1e-4, 1e9), true);
  EXPECT_NEAR(link.seconds, 1e-4, 3e-5);
  EXPECT_NEAR(link.bytes_per_second, 1e9, 1e8);
}

TEST(LinkFit, OfThreadsIsTheMedian) {
  const LinkSpeed link = fit_link(messages(1e-4, 1e18), false);
  EXPECT_NEAR(link.seconds, 1e-4, 1e-9);
  EXPECT_EQ(link.bytes_per_second, 1e12);
}

TEST(LinkFit, KnowsWhenThereIsNoLine) {
  EXPECT_EQ(fit_link({}, true).seconds, 0.0);
  EXPECT_EQ(fit_link({{10, 0.5}, {20, 0.1}}, true).bytes_per_second, 1e12);
  const std::vector<MessageLatency> alike(10, MessageLatency{100, 0.25});
  EXPECT_EQ(fit_link(alike, true).seconds, 0.25);
  EXPECT_EQ(fit_link(alike, true).bytes_per_second, 1e12);
  const std::vector<MessageLatency> faster = {{1, 3}, {2, 3}, {100, 1}, {200, 1}};
  EXPECT_EQ(fit_link(faster, true).bytes_per_second, 1e12);
}

}  // namespace
}  // namespace infinipipe
