#include "data/lengths.h"

#include <algorithm>
#include <cmath>

#include "data/sampler.h"
#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class LengthFileTest : public FolderTest {};

TEST(Lengths, AByteOrderMarkIsNoNumber) {
  EXPECT_EQ(parse_lengths("\xef\xbb\xbf"
                          "12\n7\n",
                          "l"),
            (std::vector<Tokens>{12, 7}));
}

TEST_F(LengthFileTest, ReadsANumberALine) {
  EXPECT_THAT(read_lengths(put("a", "12\n7\n131072\n")), ElementsAre(12, 7, 131072));
  EXPECT_THAT(parse_lengths("1", "x"), ElementsAre(1));
  EXPECT_THAT(parse_lengths(" 3\t\r\n4 \r\n\n \n", "x"), ElementsAre(3, 4));
  EXPECT_THAT(parse_lengths("1099511627776", "x"), ElementsAre(Tokens{1} << 40));
}

TEST_F(LengthFileTest, MistakesNameTheirLine) {
  const auto refusal = [](const std::string& text) {
    return error_of([&] { parse_lengths(text, "l.txt"); });
  };
  EXPECT_THAT(refusal("5\n6\nseven\n"), HasSubstr("l.txt:3: found \"seven\", expected a length"));
  EXPECT_THAT(refusal("0\n"), HasSubstr("l.txt:1: found \"0\""));
  EXPECT_THAT(refusal("5\n-1\n"), HasSubstr("l.txt:2: found \"-1\""));
  EXPECT_THAT(refusal("5 6\n"), HasSubstr("l.txt:1: found \"5 6\""));
  EXPECT_THAT(refusal("5.0\n"), HasSubstr("found \"5.0\""));
  EXPECT_THAT(refusal("1099511627777\n"), HasSubstr("l.txt:1"));
  EXPECT_THAT(refusal("99999999999999999999999\n"), HasSubstr("l.txt:1"));
  EXPECT_THAT(refusal("# comment\n5\n"), HasSubstr("l.txt:1"));
  EXPECT_THAT(refusal("5\n\n\n6\n"), HasSubstr("l.txt:2: found a blank line"));
  EXPECT_THAT(refusal(std::string(100'000, 'x')), ::testing::SizeIs(::testing::Lt(200)));
  EXPECT_THAT(refusal(""), HasSubstr("l.txt: holds no length"));
  EXPECT_THAT(refusal("\n\n"), HasSubstr("holds no length"));
  EXPECT_THAT(error_of([&] { read_lengths(in("none")); }), HasSubstr("none: cannot be opened"));
}

// Distribution function of a model whose tail is conditioned to at most the cap.
double model_cdf(const LengthModel& model, double x, double cap) {
  const auto normal = [&](double length) {
    return 0.5 * std::erfc(-(std::log(length) - model.mu) / model.sigma / std::sqrt(2.0));
  };
  if (x >= cap) return 1.0;
  if (x < 16384.0) {
    return (1.0 - model.tail_share) * std::max(0.0, normal(x) - normal(32)) /
           (normal(16384) - normal(32));
  }
  return 1.0 - model.tail_share +
         model.tail_share * (1.0 - std::pow(16384.0 / x, model.alpha)) /
             (1.0 - std::pow(16384.0 / cap, model.alpha));
}

TEST(LengthModels, FollowTheirDistribution) {
  constexpr int kCount = 200'000;
  constexpr Tokens kCap = 196608;
  for (const LengthModel& model : length_models()) {
    auto lengths = synthetic_lengths(model, kCount, kCap, 1);
    std::sort(lengths.begin(), lengths.end());
    EXPECT_GE(lengths.front(), 32);
    EXPECT_LE(lengths.back(), kCap);
    double worst = 0.0;  // Kolmogorov-Smirnov, at the upper ends of the whole numbers
    for (std::size_t i = 0; i + 1 < lengths.size(); ++i) {
      if (lengths[i + 1] == lengths[i]) continue;
      const double cdf = model_cdf(model, static_cast<double>(lengths[i] + 1), kCap);
      worst = std::max(worst, std::abs(cdf - static_cast<double>(i + 1) / kCount));
    }
    EXPECT_LT(worst, 1.95 / std::sqrt(kCount)) << model.name << ", 99.9% of the KS distribution";
    // The tail apart, which the statistic above hardly sees.
    const auto tail = std::count_if(lengths.begin(), lengths.end(),
                                    [](Tokens length) { return length >= 65536; });
    const double expected = kCount * (1.0 - model_cdf(model, 65536.0, kCap));
    EXPECT_NEAR(static_cast<double>(tail), expected, 4.0 * std::sqrt(expected)) << model.name;
  }
}

TEST(LengthModels, ACapCutsAll) {
  for (const Tokens cap : {Tokens{1}, Tokens{20}, Tokens{4096}, Tokens{16384}}) {
    const auto lengths = synthetic_lengths(length_model("github"), 20'000, cap, 2);
    EXPECT_EQ(*std::max_element(lengths.begin(), lengths.end()), cap);
    EXPECT_EQ(*std::min_element(lengths.begin(), lengths.end()), std::min<Tokens>(cap, 32));
  }
}

TEST(LengthModels, TheSeedDecides) {
  const LengthModel& model = length_model("commoncrawl");
  EXPECT_EQ(synthetic_lengths(model, 100, 65536, 4), synthetic_lengths(model, 100, 65536, 4));
  EXPECT_NE(synthetic_lengths(model, 100, 65536, 4), synthetic_lengths(model, 100, 65536, 5));
}

TEST(LengthModels, SayHowManyAreDrawn) {
  std::vector<std::int64_t> heard;
  const LengthModel& model = length_model("github");
  const auto told = synthetic_lengths(model, 200'000, 1 << 20, 1,
                                      [&](std::int64_t drawn) { heard.push_back(drawn); });
  EXPECT_EQ(heard, (std::vector<std::int64_t>{65'536, 131'072, 196'608}));
  EXPECT_EQ(told, synthetic_lengths(model, 200'000, 1 << 20, 1));
}

TEST(LengthModels, MistakesAreNamed) {
  EXPECT_THAT(error_of([] { length_model("gitlab"); }),
              HasSubstr("found \"gitlab\", expected github or commoncrawl"));
  const LengthModel& model = length_model("github");
  EXPECT_THAT(error_of([&] { synthetic_lengths(model, 0, 10, 1); }), HasSubstr("count of 0"));
  EXPECT_THAT(error_of([&] { synthetic_lengths(model, 1, 0, 1); }), HasSubstr("cap of 0"));
}

TEST(SampleLengths, TakesTheTrainersDocuments) {
  std::vector<Tokens> lengths(1000);
  for (std::size_t i = 0; i < lengths.size(); ++i) lengths[i] = static_cast<Tokens>(5000 + i);
  const Sampler sampler(1000, 64, 7);
  for (const std::int64_t step : {0, 3, 40}) {
    std::vector<Tokens> expected;
    for (const auto document : sampler.sample(step)) expected.push_back(5000 + document);
    EXPECT_EQ(sample_lengths(lengths, 64, step, 7), expected);
  }
}

TEST(SampleLengths, MistakesAreNamed) {
  const std::vector<Tokens> lengths = {1, 2, 3};
  EXPECT_THAT(error_of([&] { sample_lengths(lengths, 0, 0, 1); }), HasSubstr("found 0"));
  EXPECT_THAT(error_of([&] { sample_lengths(lengths, 2, -1, 1); }), HasSubstr("found step -1"));
  EXPECT_THAT(error_of([&] { sample_lengths({}, 2, 0, 1); }), HasSubstr("found 0 documents"));
}

}  // namespace
}  // namespace infinipipe
