#include "report/positions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

PositionCurve curve(const std::string& name, double loss, int ranges) {
  PositionCurve result;
  result.name = name;
  for (int i = 0; i < ranges; ++i) {
    result.points.push_back({i == 0 ? 0 : Tokens{1} << (i - 1), Tokens{1} << i, 10.0, loss + i});
  }
  return result;
}

TEST(Positions, TheTableHasALineForEachRange) {
  EXPECT_EQ(position_table({curve("a", 1.0, 1)}), "           0 to 0               1.0000\n");
  EXPECT_EQ(position_table({curve("a", 1.0, 3), curve("b", 0.5, 2)}),
            "[1] a\n[2] b\n"
            "   positions                       [1]       [2]\n"
            "           0 to 0               1.0000    0.5000\n"
            "           1 to 1               2.0000    1.5000\n"
            "           2 to 3               3.0000         -\n");
}

TEST(Positions, ThePageShowsEveryCurveByName) {
  const std::string page = position_page({curve("before <1>", 1.0, 4), curve("after", 0.5, 6)});
  EXPECT_THAT(page, HasSubstr("<svg"));
  EXPECT_THAT(page, HasSubstr("before &lt;1&gt;"));
  EXPECT_THAT(page, HasSubstr("<td>16 to 31</td><td></td><td>5.5000</td>"));
  EXPECT_EQ(page, position_page({curve("before <1>", 1.0, 4), curve("after", 0.5, 6)}));
}

TEST(Positions, CurvesAreReadFromWhatEvalWrote) {
  const std::string path = ::testing::TempDir() + "/positions_test.json";
  write_file(path, R"({"checkpoint": "runs/a/step-000010", "loss": 2.0, "by_position": [
      {"begin": 0, "end": 1, "targets": 3, "loss": 4.5}, {"begin": 2, "end": 4, "targets": 2, "loss": 1}]})");
  const PositionCurve read = read_position_curve(path);
  EXPECT_EQ(read.name, "runs/a/step-000010");
  ASSERT_EQ(read.points.size(), 2U);
  EXPECT_EQ(read.points[0].loss, 4.5);
  EXPECT_EQ(read.points[1].end, 4);
  write_file(path, R"({"loss": 2.0})");
  try {
    read_position_curve(path);
    ADD_FAILURE();
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("by_position: found nothing"));
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace infinipipe
