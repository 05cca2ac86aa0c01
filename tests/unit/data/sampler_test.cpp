#include "data/sampler.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using Numbers = std::vector<std::int64_t>;

Numbers first_positions(const Sampler& sampler, std::int64_t count) {
  Numbers result;
  for (std::int64_t step = 0; static_cast<std::int64_t>(result.size()) < count; ++step) {
    const Numbers documents = sampler.sample(step);
    result.insert(result.end(), documents.begin(), documents.end());
  }
  result.resize(static_cast<std::size_t>(count));
  return result;
}

Numbers iota(std::int64_t count) {
  Numbers all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

TEST(Sampler, EveryEpochIsAnotherPermutation) {
  for (const std::int64_t documents : {1, 2, 3, 5, 8, 100, 1000, 4099}) {
    for (const int per_step : {1, 3, 7, 512}) {
      const Numbers order = first_positions(Sampler(documents, per_step, 7), 3 * documents);
      std::vector<Numbers> epochs;
      for (int epoch = 0; epoch < 3; ++epoch) {
        epochs.emplace_back(order.begin() + epoch * documents,
                            order.begin() + (epoch + 1) * documents);
        Numbers sorted = epochs.back();
        std::sort(sorted.begin(), sorted.end());
        ASSERT_EQ(sorted, iota(documents)) << documents << " documents, epoch " << epoch;
      }
      if (documents >= 100) {
        EXPECT_NE(epochs[0], epochs[1]);
        EXPECT_NE(epochs[1], epochs[2]);
        EXPECT_NE(epochs[0], iota(documents));
      }
    }
  }
}

TEST(Sampler, TheOrderDoesNotDependOnTheStepSize) {
  EXPECT_EQ(first_positions(Sampler(1000, 1, 3), 2500),
            first_positions(Sampler(1000, 64, 3), 2500));
}

TEST(Sampler, AnyStepAloneIsTheSameAsInARow) {
  const Sampler sampler(777, 10, 11);
  std::vector<Numbers> forwards;
  for (int step = 0; step < 200; ++step) forwards.push_back(sampler.sample(step));
  for (int step = 199; step >= 0; --step) {
    ASSERT_EQ(Sampler(777, 10, 11).sample(step), forwards[static_cast<std::size_t>(step)]);
  }
}

TEST(Sampler, TheSeedDecides) {
  EXPECT_NE(Sampler(1000, 32, 1).sample(0), Sampler(1000, 32, 2).sample(0));
  EXPECT_NE(Sampler(1000, 32, 1).sample(0), Sampler(1000, 32, -1).sample(0));
  EXPECT_EQ(Sampler(1000, 32, -1).sample(5), Sampler(1000, 32, -1).sample(5));
}

TEST(Sampler, StaysTheSameFromReleaseToRelease) {
  // A changed order would change every resumed run: these numbers are part of the format.
  EXPECT_EQ(Sampler(10, 10, 1).sample(0), (Numbers{1, 4, 5, 0, 2, 8, 3, 7, 9, 6}));
  EXPECT_EQ(Sampler(1000000, 4, 42).sample(123456789), (Numbers{473196, 344853, 450431, 960181}));
}

TEST(Sampler, AStepLargerThanTheDataRepeatsDocuments) {
  const Numbers documents = Sampler(3, 8, 1).sample(0);
  ASSERT_EQ(documents.size(), 8U);
  for (int epoch = 0; epoch < 2; ++epoch) {
    Numbers part(documents.begin() + 3 * epoch, documents.begin() + 3 * epoch + 3);
    std::sort(part.begin(), part.end());
    EXPECT_EQ(part, iota(3));
  }
}

TEST(Sampler, AllOrdersAreEquallyLikely) {
  constexpr int kSeeds = 24'000;
  std::map<Numbers, int> counts;
  for (int seed = 0; seed < kSeeds; ++seed) ++counts[Sampler(4, 4, seed).sample(0)];
  ASSERT_EQ(counts.size(), 24U);
  double chi = 0.0;
  for (const auto& [order, count] : counts) chi += (count - 1000.0) * (count - 1000.0) / 1000.0;
  EXPECT_LT(chi, 49.7) << "99.9% of a chi-squared distribution of 23 degrees";
}

TEST(Sampler, DocumentsAreSpreadOverAnEpoch) {
  // Neighbours of the data must not be neighbours of the order: chi-squared of where 64 blocks of
  // documents go.
  constexpr int kDocuments = 1 << 16;
  const Numbers order = Sampler(kDocuments, kDocuments, 9).sample(0);
  std::vector<int> counts(64 * 64);
  int adjacent = 0;
  for (int i = 0; i < kDocuments; ++i) {
    const auto document = order[static_cast<std::size_t>(i)];
    ++counts[static_cast<std::size_t>(i / 1024 * 64) + static_cast<std::size_t>(document / 1024)];
    if (i > 0 && std::abs(document - order[static_cast<std::size_t>(i) - 1]) == 1) ++adjacent;
  }
  double chi = 0.0;
  for (const int count : counts) chi += (count - 16.0) * (count - 16.0) / 16.0;
  EXPECT_LT(chi, 63 * 63 + 3.3 * std::sqrt(2.0 * 63 * 63));
  EXPECT_LE(adjacent, 10) << "2 are expected";
}

TEST(Sampler, HugeDatasetsAndStepsWork) {
  const Sampler sampler(std::int64_t{1} << 40, 16, 5);
  for (const std::int64_t document : sampler.sample(std::int64_t{1} << 50)) {
    EXPECT_GE(document, 0);
    EXPECT_LT(document, std::int64_t{1} << 40);
  }
}

TEST(Sampler, RefusesWhatCannotBeSampled) {
  EXPECT_THAT(error_of([] { Sampler(0, 1, 1); }), HasSubstr("found 0 documents"));
  EXPECT_THAT(error_of([] { Sampler(5, 0, 1); }), HasSubstr("found 0 documents a step"));
  EXPECT_THAT(error_of([] { Sampler(5, 2, 1).sample(-1); }), HasSubstr("found step -1"));
  EXPECT_THAT(error_of([] { Sampler(5, 2, 1).sample(INT64_MAX); }), HasSubstr("found step"));
}

TEST(Sampler, ItsStateIsSeedAndStep) {
  const Sampler sampler(50, 4, 17);
  const Json state = sampler.state(12);
  EXPECT_EQ(state, (Json{{"format", "infinipipe.sampler"},
                         {"version", 1},
                         {"seed", 17},
                         {"step", 12},
                         {"documents", 50},
                         {"per_step", 4}}));
  EXPECT_EQ(Sampler(50, 4, 17).restore({state, "manifest.json"}), 12);
}

// Two sets, of 10 and of 30 documents; the second is drawn from three times as often.
TEST(Sampler, EachSetHasEpochsOfItsOwn) {
  const Sampler sampler({{10, 1.0}, {30, 3.0}}, 8, 5);
  EXPECT_EQ(sampler.documents(), 40);
  Numbers first;
  Numbers second;
  for (const std::int64_t number : first_positions(sampler, 160)) {
    (number < 10 ? first : second).push_back(number < 10 ? number : number - 10);
  }
  EXPECT_EQ(first, first_positions(Sampler(10, 8, 5), 40)) << "the first set's is that of it alone";
  ASSERT_EQ(second.size(), 120U);
  for (std::size_t epoch = 0; epoch < 4; ++epoch) {
    Numbers order(second.begin() + static_cast<std::ptrdiff_t>(30 * epoch),
                  second.begin() + static_cast<std::ptrdiff_t>(30 * epoch + 30));
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, iota(30));
  }
  EXPECT_EQ(sampler.epochs(160), (std::vector<double>{4.0, 4.0}));
  EXPECT_EQ(sampler.epochs(20), (std::vector<double>{0.5, 0.5}));
  EXPECT_DOUBLE_EQ(sampler.places_per_epoch(0), 40.0);
}

TEST(Sampler, EqualSetsAreNotDrawnInTheSameOrder) {
  const Numbers drawn = first_positions(Sampler({{50, 1.0}, {50, 1.0}}, 10, 5), 100);
  int alike = 0;
  for (std::size_t i = 0; i < drawn.size(); i += 2) alike += drawn[i] % 50 == drawn[i + 1] % 50;
  EXPECT_LT(alike, 10);
}

TEST(Sampler, AStateOfOtherSetsIsRefused) {
  const Json state = Sampler({{10, 0.7}, {30, 0.3}}, 8, 5).state(3);
  EXPECT_EQ(Sampler({{10, 7.0}, {30, 3.0}}, 8, 5).restore({state, "m.json"}), 3);
  const auto refusal = [&](std::vector<SampledSet> sets) {
    return error_of([&] { Sampler(std::move(sets), 8, 5).restore({state, "m.json", "sampler"}); });
  };
  EXPECT_THAT(refusal({{30, 0.7}, {10, 0.3}}),
              HasSubstr("sets[0].documents: found 10, expected 30"));
  EXPECT_THAT(refusal({{10, 0.6}, {30, 0.4}}), HasSubstr("sets[0].share: found"));
  EXPECT_THAT(refusal({{40, 1.0}}), HasSubstr("sampler: found 2 sets, expected 1"));
}

TEST(Sampler, AnotherSamplersStateIsRefused) {
  const auto refusal = [](const Sampler& sampler, const char* key, const Json& value) {
    Json state = Sampler(50, 4, 17).state(12);
    if (*key != '\0') state[key] = value;
    return error_of([&] { sampler.restore({state, "m.json", "sampler"}); });
  };
  EXPECT_THAT(refusal(Sampler(51, 4, 17), "", {}),
              HasSubstr("m.json: sampler.documents: found 50, expected 51"));
  EXPECT_THAT(refusal(Sampler(50, 5, 17), "", {}), HasSubstr("per_step: found 4, expected 5"));
  EXPECT_THAT(refusal(Sampler(50, 4, 18), "", {}), HasSubstr("seed: found 17, expected 18"));
  EXPECT_THAT(refusal(Sampler(50, 4, 17), "version", 2), HasSubstr("version"));
  EXPECT_THAT(refusal(Sampler(50, 4, 17), "format", "x"), HasSubstr("format"));
  EXPECT_THAT(refusal(Sampler(50, 4, 17), "step", -1), HasSubstr("step"));
  EXPECT_THAT(refusal(Sampler(50, 4, 17), "step", nullptr), HasSubstr("step"));
}

}  // namespace
}  // namespace infinipipe
