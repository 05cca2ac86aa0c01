#include "core/comparison.h"

#include <gtest/gtest.h>

namespace infinipipe {
namespace {

ComparisonRow row(int batch, const std::string& planner, Seconds seconds) {
  ComparisonRow result;
  result.batch = batch;
  result.planner = planner;
  result.status = seconds > 0.0 ? "ok" : "out_of_memory";
  result.reason = seconds > 0.0 ? "" : "too long";
  result.seconds = seconds;
  result.tokens_per_second = seconds > 0.0 ? 100.0 / seconds : 0.0;
  result.lower_bound = seconds / 2.0;
  result.cluster_lower_bound = 0.5;
  result.peak_bytes = {1.0, 2.0};
  result.settings = {{"stages", 2}};
  return result;
}

Comparison three_batches() {
  Comparison comparison;
  comparison.planners = {"epp", "flexsp", "gone"};
  comparison.batch_tokens = {100, 100, 100};
  comparison.rows = {row(0, "epp", 2.0), row(0, "flexsp", 3.0), row(0, "gone", 0.0),
                     row(1, "epp", 4.0), row(1, "flexsp", 4.0), row(1, "gone", 0.0),
                     row(2, "epp", 0.0), row(2, "flexsp", 8.0), row(2, "gone", 0.0)};
  return comparison;
}

TEST(Comparison, SummaryCountsWhatCouldRun) {
  const std::vector<ComparisonSummary> summary = three_batches().summary();
  ASSERT_EQ(summary.size(), 3u);
  EXPECT_EQ(summary[0].planner, "epp");
  EXPECT_EQ(summary[0].batches, 2);
  EXPECT_EQ(summary[0].seconds_mean, 3.0);
  EXPECT_EQ(summary[0].speedup_mean, 1.0);
  EXPECT_EQ(summary[0].gap_mean, 1.0);
  EXPECT_EQ(summary[1].batches, 3);
  EXPECT_EQ(summary[1].seconds_mean, 5.0);
  // Over the two batches that both could run.
  EXPECT_EQ(summary[1].speedup_mean, 1.25);
  EXPECT_EQ(summary[1].speedup_min, 1.0);
  EXPECT_EQ(summary[1].speedup_max, 1.5);
  EXPECT_EQ(summary[2].batches, 0);
  EXPECT_EQ(summary[2].speedup_mean, 0.0);
}

TEST(Comparison, JsonIsTheContracts) {
  const Json json = comparison_to_json(three_batches());
  EXPECT_EQ(json.at("format"), "infinipipe.compare");
  EXPECT_EQ(json.at("version"), 1);
  ASSERT_EQ(json.at("results").size(), 9u);
  const Json& first = json.at("results").at(0);
  for (const char* key : {"batch", "planner", "status", "seconds", "tokens_per_second", "bubble",
                          "peak_bytes", "lower_bound", "plan_seconds", "settings"}) {
    EXPECT_TRUE(first.contains(key)) << key;
  }
  EXPECT_EQ(first.at("peak_bytes"), Json({1.0, 2.0}));
  const Json& none = json.at("results").at(2);
  EXPECT_EQ(none.at("status"), "out_of_memory");
  EXPECT_EQ(none.at("reason"), "too long");
  EXPECT_FALSE(none.contains("seconds"));
  const Json& summary = json.at("summary").at(1);
  for (const char* key :
       {"planner", "seconds_mean", "epp_speedup_mean", "epp_speedup_min", "epp_speedup_max"}) {
    EXPECT_TRUE(summary.contains(key)) << key;
  }
  EXPECT_FALSE(summary.contains("seconds_mean_with_allowance"));
  EXPECT_FALSE(json.at("summary").at(2).contains("seconds_mean"));
}

TEST(Comparison, AnAllowanceStandsApart) {
  Comparison comparison = three_batches();
  comparison.allowance = 0.5;
  const Json json = comparison_to_json(comparison);
  EXPECT_EQ(json.at("summary").at(0).at("seconds_mean"), 3.0);
  EXPECT_EQ(json.at("summary").at(0).at("seconds_mean_with_allowance"), 3.5);
  EXPECT_EQ(json.at("allowance_seconds"), 0.5);
}

TEST(Comparison, EmptyIsEmpty) {
  const Json json = comparison_to_json({});
  EXPECT_TRUE(json.at("results").empty());
  EXPECT_TRUE(json.at("summary").empty());
}

}  // namespace
}  // namespace infinipipe
