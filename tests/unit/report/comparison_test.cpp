#include "report/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ComparisonRow row(int batch, const std::string& planner, Seconds seconds, Json settings) {
  ComparisonRow result;
  result.batch = batch;
  result.planner = planner;
  result.status = "ok";
  result.seconds = seconds;
  result.tokens_per_second = 1000.0 / seconds;
  result.bubble = 0.25;
  result.lower_bound = seconds / 1.5;
  result.plan_seconds = 0.001;
  result.peak_bytes = {1073741824.0, 2147483648.0};
  result.settings = std::move(settings);
  return result;
}

Comparison sample() {
  Comparison comparison;
  comparison.title = "a < b & \"c\"";
  comparison.machine = "toy";
  comparison.devices = 8;
  comparison.layers = 4;
  comparison.planners = {"epp", "flexsp", "gone"};
  comparison.batch_tokens = {1000, 1000};
  comparison.notes = Json::object();
  const Json pipeline = {{"stages", 2}, {"sequence_parallel", 4}, {"recomputed_layers", 3}};
  const Json groups = {{"groups", {{{"degrees", {4, 2, 2}}}, {{"degrees", {4, 4}}}}},
                       {"micro_batches", 2}};
  comparison.rows = {row(0, "epp", 2.0, pipeline), row(0, "flexsp", 3.0, groups), {},
                     row(1, "epp", 2.0, pipeline), row(1, "flexsp", 5.0, groups), {}};
  for (const std::size_t i : {std::size_t{2}, std::size_t{5}}) {
    comparison.rows[i].batch = static_cast<int>(i / 3);
    comparison.rows[i].planner = "gone";
    comparison.rows[i].status = "out_of_memory";
    comparison.rows[i].reason = "gone: too <long>";
  }
  return comparison;
}

TEST(SystemsTable, ShowsEverySystemAndWhyOneIsMissing) {
  const std::string table = systems_table(sample());
  EXPECT_THAT(table, HasSubstr("epp is faster by"));
  EXPECT_THAT(table, HasSubstr("2.00x (1.50-2.50)"));
  EXPECT_THAT(table, HasSubstr("500"));  // tokens/s of epp
  EXPECT_THAT(table, HasSubstr("25.0%"));
  EXPECT_THAT(table, HasSubstr("50.0%"));  // over its bound
  EXPECT_THAT(table, HasSubstr("2.0 GiB"));
  EXPECT_THAT(table, HasSubstr("PP 2, SP 4, recompute 3"));
  EXPECT_THAT(table, HasSubstr("groups 3x4 2x2, 2 micro-batches"));
  EXPECT_THAT(table, HasSubstr("out of memory"));
  EXPECT_THAT(table, HasSubstr("gone: batch 0: gone: too <long>"));
  EXPECT_THAT(table, Not(HasSubstr("allowance")));
}

TEST(SystemsTable, CalibrationsShowTheMeasuredSeconds) {
  Comparison comparison = sample();
  comparison.planners = {"flexsp"};
  comparison.allowance = 1.0;
  comparison.notes = {{"measured_seconds", {{"flexsp", 4.0}}}};
  std::erase_if(comparison.rows, [](const ComparisonRow& r) { return r.planner != "flexsp"; });
  const std::string table = systems_table(comparison);
  EXPECT_THAT(table, HasSubstr("4.00"));
  EXPECT_THAT(table, HasSubstr("25.0%"));  // (4 + 1) / 4
  EXPECT_THAT(table, HasSubstr("the allowance is 1"));
  EXPECT_THAT(table, Not(HasSubstr("is faster by")));
  EXPECT_THAT(html_comparison(comparison), HasSubstr("<th>measured</th>"));
}

TEST(SettingsText, LeavesOutWhatIsAbsentOrNone) {
  EXPECT_EQ(settings_text(Json::object()), "");
  EXPECT_EQ(settings_text(Json()), "");
  EXPECT_EQ(settings_text({{"stages", 1}, {"recomputed_layers", 0}, {"schedule", "list"}}),
            "PP 1, list");
}

TEST(ComparisonPage, IsOneSelfContainedEscapedPage) {
  const std::string page = html_comparison(sample());
  EXPECT_TRUE(page.starts_with("<!doctype html>"));
  EXPECT_THAT(page, HasSubstr("a &lt; b &amp; &quot;c&quot;"));
  EXPECT_THAT(page, HasSubstr("too &lt;long&gt;"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  std::size_t opened = 0;
  for (std::size_t at = page.find("<svg"); at != std::string::npos;
       at = page.find("<svg", at + 1)) {
    ++opened;
  }
  EXPECT_EQ(opened, 2u);
  std::size_t circles = 0;
  for (std::size_t at = page.find("<circle"); at != std::string::npos;
       at = page.find("<circle", at + 1)) {
    ++circles;
  }
  EXPECT_EQ(circles, 4u);  // two batches of two systems
  EXPECT_EQ(page, html_comparison(sample()));
}

TEST(ComparisonPage, HoldsNothingAtAll) {
  Comparison nothing;
  nothing.notes = Json::object();
  EXPECT_THAT(html_comparison(nothing), HasSubstr("</html>"));
  EXPECT_THAT(html_comparison(nothing), Not(HasSubstr("nan")));
  EXPECT_THAT(systems_table(nothing), HasSubstr("system"));
}

}  // namespace
}  // namespace infinipipe
