#include "report/residuals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::vector<ResidualPoint> points() {
  std::vector<ResidualPoint> result;
  for (const double off : {0.9, 1.0, 1.02}) {
    result.push_back({"forward", "split", "512 tokens", 0.01, 0.01 * off});
  }
  result.push_back({"backward", "batched", "64 <tokens> & more", 2.0, 1.0});
  result.push_back({"forward", "batched", "64 tokens", 1e-4, 1.25e-4});
  return result;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(ResidualTable, Golden) {
  EXPECT_EQ(residual_table(points()),
            "instruction              chunk     count    median       95%      bias\n"
            "backward                 batched       1     50.0%     50.0%    -50.0%\n"
            "forward                  split         3      2.0%      9.2%     +0.0%\n"
            "forward                  batched       1     25.0%     25.0%    +25.0%\n"
            "all                                    5     10.0%     45.0%     +0.0%\n");
}

TEST(ResidualTable, LeavesOutWhatWasMeasuredAsNothing) {
  std::vector<ResidualPoint> some = points();
  some.push_back({"forward", "split", "", 0.0, 1.0});
  some.push_back({"other", "", "", -1.0, 1.0});
  EXPECT_EQ(residual_table(some), residual_table(points()));
  EXPECT_THAT(residual_table({}), HasSubstr("all                                    0      0.0%"));
}

class ResidualPage : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  std::string page(const std::vector<ResidualPoint>& of) {
    write_residuals_html(path_, "a machine <of> \"mine\" & others", of);
    return read_file(path_);
  }
  // Every coordinate that a page says: all finite.
  static void expect_finite(const std::string& text) {
    EXPECT_THAT(text, Not(HasSubstr("nan")));
    EXPECT_THAT(text, Not(HasSubstr("'inf")));
    EXPECT_THAT(text, Not(HasSubstr("'-inf")));
  }
  std::string path_ = (std::filesystem::path(::testing::TempDir()) /
                       ("infinipipe_residuals." + std::to_string(::getpid()) + ".html"))
                          .string();
};

TEST_F(ResidualPage, HasADotForEachPointAndALegend) {
  const std::string text = page(points());
  EXPECT_EQ(count(text, "<circle "), 5u);
  EXPECT_EQ(count(text, "<i style="), 2u) << "two series";
  EXPECT_THAT(text, HasSubstr("predicted 125.0 us (+25.0%)"));
  EXPECT_THAT(text, HasSubstr("a machine &lt;of&gt; &quot;mine&quot; &amp; others"));
  EXPECT_THAT(text, HasSubstr("64 &lt;tokens&gt; &amp; more"));
  EXPECT_THAT(text, HasSubstr(residual_table(points())));
  EXPECT_THAT(text, Not(HasSubstr("http"))) << "self-contained";
  EXPECT_THAT(text, Not(HasSubstr("<script")));
  expect_finite(text);
}

TEST_F(ResidualPage, AnExactPointLiesOnTheDiagonal) {
  // From 10 us to 1 s: five decades of 128 each.
  const std::string text =
      page({{"a", "", "", 1e-5, 1e-5}, {"a", "", "", 1.0, 1.0}, {"b", "", "", 1e-3, 1e-2}});
  EXPECT_THAT(text, HasSubstr("cx='0.0' cy='640.0'"));
  EXPECT_THAT(text, HasSubstr("cx='640.0' cy='0.0'"));
  EXPECT_THAT(text, HasSubstr("cx='256.0' cy='256.0'")) << "ten times too long: a decade higher";
}

TEST_F(ResidualPage, FewOrNoPointsMakeAPageAllTheSame) {
  for (const auto& some : {std::vector<ResidualPoint>{},
                           {{"a", "b", "c", 1.0, 1.0}},
                           {{"a", "b", "c", 0.0, 1.0}},
                           {{"a", "b", "c", 1.0, 0.0}}}) {
    const std::string text = page(some);
    expect_finite(text);
    EXPECT_THAT(text, HasSubstr("</svg>"));
  }
}

TEST_F(ResidualPage, AFileThatCannotBeWrittenIsARunError) {
  EXPECT_THROW(write_residuals_html("/proc/no/such/folder/x.html", "t", points()), RunError);
}

}  // namespace
}  // namespace infinipipe
