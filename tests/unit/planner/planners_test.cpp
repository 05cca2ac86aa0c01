#include "planner/planners.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "infinipipe/base/error.h"
#include "planner/schedules/schedules.h"
#include "support/doc_table.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

TEST(Planners, HaveNamesTitlesAndLinesOfTheirOwn) {
  std::set<std::string> names;
  std::set<std::string> titles;
  for (const PlannerRow& row : planners()) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_TRUE(titles.insert(row.title).second) << row.title;
    EXPECT_STRNE(row.line, "");
    EXPECT_NE(row.make, nullptr);
    EXPECT_EQ(&planner_row(row.name), &row);
  }
  EXPECT_STREQ(planners().front().name, kDefaultPlanner);
  EXPECT_EQ(PlannerConfig{}.name, kDefaultPlanner);
}

TEST(Planners, AreFoundByNameAndOthersRefused) {
  for (const char* name :
       {planner_name::kElastic, planner_name::kPaper, planner_name::kPacked, planner_name::kSlices,
        planner_name::kFixedSlices, planner_name::kMepipe, planner_name::kGpipe}) {
    EXPECT_STREQ(planner_row(name).name, name);
  }
  try {
    planner_row("seq1f1");
    FAIL() << "an unknown planner";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("planner.name: unknown planner 'seq1f1', expected epp, "));
    EXPECT_THAT(error.what(), HasSubstr("; did you mean seq1f1b?"));
  }
}

TEST(Planners, OfTheTableAreThoseOfTheDocs) {
  EXPECT_EQ(testing::doc_table("planner.md", "planner"), testing::doc_rows(planners()));
}

TEST(Schedules, HaveNamesOfTheirOwnAndAreFoundByThem) {
  std::set<std::string> names;
  for (const ScheduleRow& row : schedules()) {
    EXPECT_EQ(&schedule_row(row.name), &row);
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
  }
  EXPECT_TRUE(names.contains(kDefaultSchedule));
  EXPECT_TRUE(names.contains(PlannerReport{}.schedule));
  for (const char* name : {schedule_name::kOneFOneB, schedule_name::kSolvedOneFOneB,
                           schedule_name::kList, schedule_name::kMepipe, schedule_name::kGpipe}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
  EXPECT_THROW(schedule_row("gpip"), InputError);
}

// A schedule either orders given chunks or is found by a search; only the former may hold weights.
TEST(Schedules, ThatHoldWeightsOrderGivenChunks) {
  int held = 0;
  for (const ScheduleRow& row : schedules()) {
    held += row.holds_weights ? 1 : 0;
    EXPECT_TRUE(row.make != nullptr || !row.holds_weights) << row.name;
  }
  EXPECT_EQ(held, 1);
  EXPECT_EQ(schedule_row(schedule_name::kList).make, nullptr);
}

TEST(Passes, OfTheTableAreThoseOfTheDocs) {
  EXPECT_EQ(testing::doc_table("planner.md", "pass"), testing::doc_rows(kPasses));
}

TEST(Schedules, OfTheTableAreThoseOfTheDocs) {
  EXPECT_EQ(testing::doc_table("planner.md", "schedule"), testing::doc_rows(schedules()));
}

}  // namespace
}  // namespace infinipipe
