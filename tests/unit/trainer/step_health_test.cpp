#include "trainer/step_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

class Health : public ::testing::Test {
 protected:
  StepHealth health(int most) {
    return {most, [this](const std::string& line) { warnings_.push_back(line); }};
  }
  static StepMetrics trained(int step, double loss) {
    StepMetrics metrics;
    metrics.step = step;
    metrics.loss = loss;
    return metrics;
  }
  static StepMetrics skipped(int step, const char* because,
                             double loss = std::numeric_limits<double>::quiet_NaN()) {
    StepMetrics metrics = trained(step, loss);
    metrics.skipped = true;
    metrics.skipped_because = because;
    return metrics;
  }
  std::vector<std::string> warnings_;
};

TEST_F(Health, OnlyStepsInARowCount) {
  StepHealth watch = health(3);
  for (int step = 0; step < 18; ++step) {
    watch.observe(step % 3 == 2 ? trained(step, 2.0) : skipped(step, kNotFinite), "");
    EXPECT_EQ(watch.skipped_in_a_row(), step % 3 == 2 ? 0 : step % 3 + 1);
  }
  watch.observe(skipped(18, kNotFinite), "good");
  watch.observe(skipped(19, kNoTargets), "good");
  EXPECT_EQ(watch.skipped_in_a_row(), 1) << "says nothing";
  watch.observe(skipped(20, kNotFinite), "good");
  try {
    watch.observe(skipped(21, kNotFinite, 3.0), "run/step-000018");
    FAIL() << "it went on";
  } catch (const RunError& error) {
    EXPECT_THAT(error.what(), HasSubstr("step 21: 3 steps in a row were skipped, the last for a "
                                        "gradient's norm that is not finite"));
    EXPECT_THAT(error.what(), HasSubstr("the last good checkpoint is run/step-000018"));
  }
  EXPECT_THAT(warnings_[0], HasSubstr("step 0 was skipped: its loss is not finite"));
}

TEST_F(Health, ZeroIsNoLimit) {
  StepHealth watch = health(0);
  for (int step = 0; step < 1000; ++step) watch.observe(skipped(step, kNotFinite), "");
  EXPECT_EQ(watch.skipped_in_a_row(), 1000);
}

TEST_F(Health, ALeapOfTheLossIsWarnedOf) {
  StepHealth watch = health(5);
  Random random(5);
  int step = 0;
  for (; step < 200; ++step) {  // noisy, and falling
    watch.observe(trained(step, 5.0 * std::exp(-0.01 * step) + 0.3 * random.normal()), "");
  }
  EXPECT_TRUE(warnings_.empty()) << warnings_.front();
  watch.observe(trained(step, 9.0), "");
  ASSERT_EQ(warnings_.size(), 1U);
  EXPECT_THAT(warnings_[0], HasSubstr("step 200: the loss leapt to 9.000000, from about 0."));
}

TEST_F(Health, FewLossesAreNoMeasure) {
  StepHealth watch = health(5);
  watch.observe(trained(0, 1.0), "");
  watch.observe(trained(1, 100.0), "");
  EXPECT_TRUE(warnings_.empty());
}

}  // namespace
}  // namespace infinipipe
