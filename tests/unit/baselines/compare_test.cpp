#include "baselines/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "infinipipe/base/error.h"
#include "support/clusters.h"

namespace infinipipe {
namespace {

CompareRequest sample_request() {
  Random random(61);
  CompareRequest request;
  request.planners = {"megatron", "deepspeed", "flexsp"};
  for (int b = 0; b < 5; ++b) request.batches.push_back(testing::skewed_lengths(random, 20, 2000));
  return request;
}

Json without_times(const Comparison& comparison) {
  Json json = comparison_to_json(comparison);
  for (Json& row : json.at("results")) row.erase("plan_seconds");
  return json;
}

TEST(CompareSystems, RowsStandByBatchThenInThePlannersOrder) {
  const CompareRequest request = sample_request();
  const Comparison comparison = compare_systems(testing::toy_cluster(8), request);
  ASSERT_EQ(comparison.rows.size(), 15u);
  for (std::size_t i = 0; i < comparison.rows.size(); ++i) {
    EXPECT_EQ(comparison.rows[i].batch, static_cast<int>(i / 3));
    EXPECT_EQ(comparison.rows[i].planner, request.planners[i % 3]);
    EXPECT_EQ(comparison.rows[i].status, "ok");
    EXPECT_GT(comparison.rows[i].cluster_lower_bound, 0.0);
  }
  EXPECT_EQ(comparison.devices, 8);
  EXPECT_EQ(comparison.batch_tokens.size(), 5u);
}

TEST(CompareSystems, ThreadsChangeNothing) {
  CompareRequest request = sample_request();
  const Json one = without_times(compare_systems(testing::toy_cluster(8), request));
  for (const int threads : {2, 5, 40}) {
    request.threads = threads;
    EXPECT_EQ(without_times(compare_systems(testing::toy_cluster(8), request)), one);
  }
}

TEST(CompareSystems, EachRowIsTheSystemsOwnTunedRun) {
  const CompareRequest request = sample_request();
  const SystemContext context = testing::toy_cluster(8);
  const Comparison comparison = compare_systems(context, request);
  for (std::size_t p = 0; p < request.planners.size(); ++p) {
    const auto system = make_system(request.planners[p], context);
    system->tune(request.batches);
    for (std::size_t b = 0; b < request.batches.size(); ++b) {
      EXPECT_EQ(comparison.rows[b * 3 + p].seconds, system->run(request.batches[b]).seconds);
    }
  }
}

TEST(CompareSystems, ReportsEveryStepOfItsWork) {
  CompareRequest request = sample_request();
  request.threads = 3;
  std::vector<std::string> lines;
  request.progress = [&](const std::string& line) { lines.push_back(line); };
  compare_systems(testing::toy_cluster(8), request);
  ASSERT_EQ(lines.size(), 3u + 15u);  // tuned, run
  EXPECT_THAT(lines.back(), ::testing::HasSubstr("(15 of 15)"));
}

TEST(CompareSystems, ErrorsOfAnyThreadAreThrown) {
  CompareRequest request = sample_request();
  request.threads = 4;
  request.batches[3][0] = 0;
  EXPECT_THROW(compare_systems(testing::toy_cluster(8), request), std::exception);
  request = sample_request();
  request.planners = {"flexsp", "flexsp"};
  EXPECT_THROW(compare_systems(testing::toy_cluster(8), request), InputError);
  request.planners = {"flexsp", "no such"};
  EXPECT_THROW(compare_systems(testing::toy_cluster(8), request), InputError);
}

TEST(CompareSystems, CalibrationsUseTheExperimentsSystemsAndStateTheAllowance) {
  CompareRequest request = sample_request();
  request.planners = {"deepspeed", "flexsp"};
  request.experiment = published_experiment("flexsp");
  const SystemContext context = testing::toy_cluster(8);
  const Comparison comparison = compare_systems(context, request);
  EXPECT_NEAR(comparison.allowance, 1.5 * 3e-3, 1e-12);
  EXPECT_EQ(comparison.notes.at("measured_seconds").at("flexsp"), 4.71);
  for (const ComparisonRow& row : comparison.rows) {
    ASSERT_EQ(row.status, "ok");
    EXPECT_EQ(row.settings.at("recomputed_layers"), 0);
    if (row.planner == "deepspeed") {
      EXPECT_EQ(row.settings.at("sequence_parallel"), 8);
      continue;
    }
    for (const Json& step : row.settings.at("groups")) {
      for (const Json& degree : step.at("degrees")) EXPECT_GE(degree.get<int>(), 2);
    }
  }
  SystemContext odd = context;
  odd.devices = 12;
  EXPECT_THROW(make_published_system(published_experiment("flexsp"), "deepspeed", odd), InputError);
}

TEST(CompareSystems, NoBatchesAndNoPlannersAreNoWork) {
  CompareRequest request;
  EXPECT_TRUE(compare_systems(testing::toy_cluster(8), request).rows.empty());
  request = sample_request();
  request.planners.clear();
  EXPECT_TRUE(compare_systems(testing::toy_cluster(8), request).rows.empty());
}

}  // namespace
}  // namespace infinipipe
