#include "cost/regression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/random.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

const std::vector<bool> kAll = {true, true, true};

// value = 2e-9 a + 3e-6 b + 4e-4 of chunks of very different sizes, each measured with `noise`.
std::vector<Observation> planted(int count, double noise, std::uint64_t seed,
                                 std::vector<double> coefficients = {2e-9, 3e-6, 4e-4}) {
  Random random(seed);
  std::vector<Observation> observations;
  for (int i = 0; i < count; ++i) {
    const double tokens = std::floor(64.0 * std::pow(256.0, random.uniform()));
    const double context = std::floor(8000.0 * random.uniform());
    Observation one;
    one.features = {(context + tokens) * (context + tokens) - context * context, tokens, 1.0};
    one.value = predict(coefficients, one) * (1.0 + noise * (2.0 * random.uniform() - 1.0));
    one.group = i;
    observations.push_back(one);
  }
  return observations;
}

void expect_near(const std::vector<double>& found, const std::vector<double>& expected,
                 double share) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], expected[i], share * expected[i]) << "coefficient " << i;
  }
}

TEST(Regression, ExactDataGivesExactCoefficients) {
  const Fit fit = fit_relative(planted(40, 0.0, 1), kAll);
  expect_near(fit.coefficients, {2e-9, 3e-6, 4e-4}, 1e-6);
  EXPECT_LT(fit.error_median, 1e-9);
  EXPECT_LT(fit.error_p95, 1e-9);
}

TEST(Regression, NoiseAveragesOut) {
  const Fit fit = fit_relative(planted(400, 0.05, 2), kAll);
  expect_near(fit.coefficients, {2e-9, 3e-6, 4e-4}, 0.05);
  EXPECT_NEAR(fit.error_median, 0.025, 0.008) << "half of a uniform error of 5%";
  EXPECT_NEAR(fit.error_p95, 0.0475, 0.008);
}

// A tenth of the measurements was disturbed: 2 to 10 times as long.
TEST(Regression, OutliersHardlyMatter) {
  std::vector<Observation> observations = planted(400, 0.01, 3);
  std::vector<Observation> good;
  Random random(4);
  for (std::size_t i = 0; i < observations.size(); ++i) {
    if (i % 10 == 0) {
      observations[i].value *= 2.0 + 8.0 * random.uniform();
    } else {
      good.push_back(observations[i]);
    }
  }
  const Fit fit = fit_relative(observations, kAll);
  const Fit clean = fit_relative(good, kAll);
  expect_near(fit.coefficients, clean.coefficients, 0.03);
  EXPECT_LT(fit.error_median, 0.02);
  EXPECT_GT(fit.error_p95, 0.4) << "they still count as errors";
}

TEST(Regression, NeverNegative) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed, 5);
    std::vector<Observation> observations;
    const std::size_t size = 1 + seed % 5;
    for (int i = 0; i < 30; ++i) {
      Observation one;
      for (std::size_t j = 0; j < size; ++j) one.features.push_back(4.0 * random.uniform() - 1.0);
      one.value = 0.01 + random.uniform();
      observations.push_back(one);
    }
    for (const double x : fit_relative(observations, std::vector<bool>(size, true)).coefficients) {
      ASSERT_GE(x, 0.0) << "seed " << seed;
      ASSERT_TRUE(std::isfinite(x)) << "seed " << seed;
    }
  }
}

// The best unconstrained fit of these has a negative constant: it goes to 0 and the rest is the
// best fit without it.
TEST(Regression, WhatWouldBeNegativeIsZeroAndTheRestIsOptimal) {
  const std::vector<Observation> observations = planted(100, 0.02, 6, {2e-9, 3e-6, -1e-5});
  const Fit fit = fit_relative(observations, kAll);
  EXPECT_EQ(fit.coefficients[2], 0.0);
  const Fit without = fit_relative(observations, {true, true, false});
  expect_near({fit.coefficients[0], fit.coefficients[1]},
              {without.coefficients[0], without.coefficients[1]}, 1e-9);
}

// No other non-negative point has a smaller sum of squared relative errors where nothing is
// reweighted: errors of equal size are all below the knee.
TEST(Regression, IsTheMinimumAmongNonNegativeCoefficients) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<Observation> observations = planted(60, 0.0, seed);
    for (std::size_t i = 0; i < observations.size(); ++i) {
      observations[i].value *= i % 2 == 0 ? 1.02 : 0.98;
    }
    const auto loss = [&](const std::vector<double>& x) {
      double sum = 0.0;
      for (const Observation& each : observations) {
        sum += std::pow(predict(x, each) / each.value - 1.0, 2.0);
      }
      return sum;
    };
    const std::vector<double> found = fit_relative(observations, kAll).coefficients;
    const double least = loss(found);
    for (std::size_t i = 0; i < found.size(); ++i) {
      for (const double factor : {0.98, 0.999, 1.001, 1.02}) {
        std::vector<double> other = found;
        other[i] *= factor;
        EXPECT_GE(loss(other), least) << "seed " << seed << ", coefficient " << i;
      }
    }
  }
}

TEST(Regression, UnusedFeaturesStayZero) {
  const Fit fit = fit_relative(planted(50, 0.0, 7), {true, false, true});
  EXPECT_EQ(fit.coefficients[1], 0.0);
  EXPECT_GT(fit.coefficients[0], 0.0);
  EXPECT_EQ(fit_relative(planted(5, 0.0, 7), {false, false, false}).coefficients,
            std::vector<double>(3, 0.0));
}

// One feature twice, and one that is the sum of two others: predictions are right all the same.
TEST(Regression, DependentFeaturesStillPredict) {
  std::vector<Observation> observations = planted(60, 0.0, 8);
  for (Observation& each : observations) {
    each.features.push_back(each.features[1]);
    each.features.push_back(each.features[1] + each.features[2]);
    each.features.push_back(0.0);  // says nothing
  }
  const Fit fit = fit_relative(observations, std::vector<bool>(6, true));
  EXPECT_LT(fit.error_p95, 1e-6);
  for (const double x : fit.coefficients) EXPECT_GE(x, 0.0);
  EXPECT_EQ(fit.coefficients[5], 0.0);
}

TEST(Regression, FewerObservationsThanFeatures) {
  const std::vector<Observation> two = planted(2, 0.0, 9);
  const Fit fit = fit_relative(two, kAll);
  EXPECT_LT(fit.error_p95, 1e-6);
  const Fit one = fit_relative(std::span(two).first(1), kAll);
  EXPECT_LT(one.error_p95, 1e-9);
}

TEST(Regression, SameBitsEveryTime) {
  const std::vector<Observation> observations = planted(100, 0.1, 10);
  EXPECT_EQ(fit_relative(observations, kAll).coefficients,
            fit_relative(observations, kAll).coefficients);
  EXPECT_EQ(cross_validated_error(observations, kAll), cross_validated_error(observations, kAll));
}

TEST(CrossValidation, LeavesWholeGroupsOut) {
  // A feature of its own for each group explains what it has seen and nothing else.
  std::vector<Observation> observations;
  for (int group = 0; group < 4; ++group) {
    for (int i = 0; i < 3; ++i) {
      Observation one{std::vector<double>(4, 0.0), 1.0 + group, group};
      one.features[static_cast<std::size_t>(group)] = 1.0;
      observations.push_back(one);
    }
  }
  const std::vector<bool> used(4, true);
  EXPECT_LT(fit_relative(observations, used).error_median, 1e-9);
  EXPECT_NEAR(cross_validated_error(observations, used, 4), 1.0, 1e-9);
  for (std::size_t i = 0; i < observations.size(); ++i) {
    observations[i].group = static_cast<int>(i);  // now others of its kind are in every fold
  }
  EXPECT_LT(cross_validated_error(observations, used, 3), 1e-9);
}

TEST(CrossValidation, OneGroupIsJudgedByItsOwnFit) {
  std::vector<Observation> observations = planted(20, 0.1, 11);
  for (Observation& each : observations) each.group = 5;
  EXPECT_EQ(cross_validated_error(observations, kAll),
            fit_relative(observations, kAll).error_median);
}

TEST(SimplestForm, TakesWhatTheDataNeedsAndNoMore) {
  const std::vector<std::vector<bool>> forms = {
      {true, true, false}, {true, true, true}, {true, true, true}};
  EXPECT_EQ(simplest_form(planted(200, 0.01, 12, {2e-9, 3e-6, 0.0}), forms), 0u)
      << "no constant was planted";
  EXPECT_EQ(simplest_form(planted(200, 0.01, 13), forms), 1u) << "the third says no more";
  // Between them the tolerance decides.
  const std::vector<Observation> small = planted(200, 0.01, 14, {2e-9, 3e-6, 2e-6});
  EXPECT_EQ(simplest_form(small, forms, 0.5), 0u);
  EXPECT_EQ(simplest_form(small, forms, 0.0) == 0u,
            cross_validated_error(small, forms[0]) <= cross_validated_error(small, forms[1]));
}

std::string refusal(const std::vector<Observation>& observations) {
  try {
    fit_relative(observations, kAll);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Regression, RefusesWhatIsNoMeasurement) {
  EXPECT_THAT(refusal({}), HasSubstr("found no observations"));
  EXPECT_THROW(cross_validated_error({}, kAll), InputError);
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double value : {0.0, -1.0, infinity, nan}) {
    std::vector<Observation> observations = planted(5, 0.0, 15);
    observations[3].value = value;
    EXPECT_THAT(refusal(observations), HasSubstr("expected a finite value above 0")) << value;
  }
  for (const double feature : {infinity, -infinity, nan}) {
    std::vector<Observation> observations = planted(5, 0.0, 15);
    observations[3].features[1] = feature;
    EXPECT_THAT(refusal(observations), HasSubstr("3 finite features")) << feature;
  }
  std::vector<Observation> observations = planted(5, 0.0, 15);
  observations[4].features.pop_back();
  EXPECT_THAT(refusal(observations), HasSubstr("3 finite features"));
}

}  // namespace
}  // namespace infinipipe
