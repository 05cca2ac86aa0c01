// Frequencies against those that transformers 5.24 computes in float32.
#include "infinipipe/core/rope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kHead = 16;
constexpr std::int64_t kContext = 512;

void expect_near(const RopeFrequencies& found, const std::vector<double>& expected,
                 double attention_factor = 1.0) {
  ASSERT_EQ(found.inverse.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(found.inverse[i], expected[i], 1e-6 * expected[i]) << i;
  }
  EXPECT_NEAR(found.attention_factor, attention_factor, 1e-6);
}

const std::vector<double>& plain() {
  static const std::vector<double> kPlain = {1,   .3162278,   .1,   .03162278,
                                             .01, .003162278, .001, 3.162278e-4};
  return kPlain;
}

RopeScaling scaling(RopeType type, double factor, std::int64_t original = 0) {
  RopeScaling rope;
  rope.type = type;
  rope.factor = factor;
  rope.original_max_position_embeddings = original;
  return rope;
}

RopeFrequencies of(const RopeScaling& rope, double theta = 1e4, Tokens longest = 0) {
  return rope_frequencies(rope, theta, kHead, kContext, longest);
}

TEST(Rope, Plain) { expect_near(of({}), plain()); }

TEST(Rope, LinearDividesAll) {
  std::vector<double> expected = plain();
  for (double& each : expected) each /= 4.0;
  expect_near(of(scaling(RopeType::kLinear, 4.0)), expected);
}

TEST(Rope, Llama3) {
  expect_near(of(scaling(RopeType::kLlama3, 8.0, 64), 5e5),
              {1, 7.940301e-2, 4.700754e-3, 9.115831e-4, 1.767767e-4, 3.428102e-5, 6.647870e-6,
               1.289173e-6});
}

TEST(Rope, Yarn) {
  std::vector<double> expected = {1,      .2371708,    .05,    7.905695e-3,
                                  2.5e-3, 7.905695e-4, 2.5e-4, 7.905695e-5};
  RopeScaling rope = scaling(RopeType::kYarn, 4.0, 128);
  expect_near(of(rope), expected, 1.138629);
  rope.truncate = false;
  expected[1] = .2256375;
  expected[2] = 4.270567e-2;
  expect_near(of(rope), expected, 1.138629);
  expect_near(of(scaling(RopeType::kYarn, 4.0, kContext)),
              {1, .2569351, .0625, 1.383497e-2, 2.5e-3, 7.905695e-4, 2.5e-4, 7.905695e-5},
              1.138629);
}

TEST(Rope, YarnsAttentionFactorCanBeSaid) {
  RopeScaling rope = scaling(RopeType::kYarn, 4.0, 128);
  rope.mscale = 0.5;
  EXPECT_NEAR(of(rope).attention_factor, 1.138629, 1e-6);  // one alone says nothing
  rope.mscale_all_dim = 1.0;
  EXPECT_NEAR(of(rope).attention_factor, (0.05 * std::log(4.0) + 1) / (0.1 * std::log(4.0) + 1),
              1e-12);
  rope.attention_factor = 1.5;
  EXPECT_EQ(of(rope).attention_factor, 1.5);
  EXPECT_EQ(of(scaling(RopeType::kYarn, 1.0, 128)).attention_factor, 1.0);
}

TEST(Rope, DynamicGrowsWithTheLength) {
  const RopeScaling rope = scaling(RopeType::kDynamic, 4.0);
  expect_near(of(rope, 1e4, 100), plain());
  expect_near(of(rope, 1e4, kContext), plain());
  expect_near(of(rope, 1e4, 1024), {1, .2512738, 6.313851e-2, 1.586505e-2, 3.986470e-3, 1.001695e-3,
                                    2.516998e-4, 6.324555e-5});
}

TEST(Rope, EveryTypeHasItsRow) {
  for (std::size_t i = 0; i < kRopeTypes.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(kRopeTypes[i].value), i);
    EXPECT_STREQ(to_string(kRopeTypes[i].value), kRopeTypes[i].name);
  }
}

TEST(Rope, CheckNamesWhatCannotBe) {
  const auto check = [](const auto& change) -> std::string {
    RopeScaling rope = scaling(RopeType::kYarn, 4.0, 128);
    change(rope);
    try {
      rope.check();
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(check([](RopeScaling&) {}), "accepted");
  EXPECT_EQ(check([](RopeScaling& r) { r.factor = 0.5; }),
            "model.rope.factor: found 0.5, expected a finite number of at least 1");
  EXPECT_THAT(check([](RopeScaling& r) { r.original_max_position_embeddings = 0; }),
              HasSubstr("expected the context that the weights were first trained at"));
  EXPECT_THAT(check([](RopeScaling& r) { r.high_freq_factor = 1.0; }),
              HasSubstr("expected more than low_freq_factor"));
  EXPECT_THAT(check([](RopeScaling& r) { r.beta_slow = -1.0; }), HasSubstr("model.rope.beta_slow"));
  EXPECT_THAT(check([](RopeScaling& r) { r.attention_factor = -1.0; }),
              HasSubstr("model.rope.attention_factor"));
  EXPECT_THAT(check([](RopeScaling& r) { r.mscale = -1.0; }), HasSubstr("model.rope.mscale"));
}

}  // namespace
}  // namespace infinipipe
