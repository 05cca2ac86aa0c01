#include "report/figure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

// Every element is closed, in order.
void expect_well_formed(const std::string& svg) {
  std::vector<std::string> open;
  const std::regex tag("<(/?)([a-z]+)([^<>]*?)(/?)>");
  for (std::sregex_iterator it(svg.begin(), svg.end(), tag), end; it != end; ++it) {
    if ((*it)[1].length() > 0) {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), (*it)[2].str());
      open.pop_back();
    } else if ((*it)[4].length() == 0) {
      open.push_back((*it)[2].str());
    }
  }
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(count(svg, "nan"), 0);
  EXPECT_EQ(count(svg, "inf"), 0);
}

BarFigure bars() {
  BarFigure figure;
  figure.title = "A <b> & \"c\"";
  figure.subtitle = "below";
  figure.y_axis = "seconds";
  figure.groups = {"48K\nGitHub", "96K\nGitHub"};
  figure.series = {{"ours", {10.0, 5.0}}, {"theirs", {20.0, kNone}}};
  return figure;
}

// y and height of the bar whose hover text begins so.
std::pair<double, double> bar_of(const std::string& svg, const std::string& hover) {
  const std::regex shape(
      "<rect x=\"[^\"]+\" y=\"([^\"]+)\" width=\"[^\"]+\" height=\"([^\"]+)\" "
      "fill=\"[^\"]+\"><title>" +
      hover);
  std::smatch match;
  if (!std::regex_search(svg, match, shape)) {
    ADD_FAILURE() << "no bar " << hover;
    return {0.0, 0.0};
  }
  return {std::stod(match[1]), std::stod(match[2])};
}

TEST(BarFigure, BarsAreAsHighAsTheirValues) {
  const std::string svg = bar_figure(bars());
  expect_well_formed(svg);
  const auto [y10, h10] = bar_of(svg, "ours, 48K GitHub: 10<");
  const auto [y5, h5] = bar_of(svg, "ours, 96K GitHub: 5<");
  const auto [y20, h20] = bar_of(svg, "theirs, 48K GitHub: 20<");
  EXPECT_NEAR(h10, 2.0 * h5, 0.2);
  EXPECT_NEAR(h20, 2.0 * h10, 0.2);
  EXPECT_NEAR(y10 + h10, y20 + h20, 0.2);
  EXPECT_NEAR(y5 + h5, y20 + h20, 0.2);
  EXPECT_EQ(count(svg, "<title>"), 3);
  EXPECT_THAT(svg, HasSubstr(">x</text>"));  // what is absent
}

TEST(BarFigure, TextIsEscapedAndInItsPlace) {
  const std::string svg = bar_figure(bars());
  EXPECT_THAT(svg, HasSubstr("A &lt;b&gt; &amp; &quot;c&quot;"));
  EXPECT_THAT(svg, Not(HasSubstr("<b>")));
  for (const char* part : {">48K<", ">GitHub<", ">ours<", ">theirs<", ">seconds<", ">10.00<"}) {
    EXPECT_THAT(svg, HasSubstr(part));
  }
}

TEST(BarFigure, StacksStandOnOneAnother) {
  BarFigure figure = bars();
  figure.stacked = true;
  figure.series[0].values = {60.0, 30.0};
  figure.series[1].values = {40.0, kNone};
  const std::string svg = bar_figure(figure);
  expect_well_formed(svg);
  const auto [low, low_height] = bar_of(svg, "ours, 48K GitHub: 60<");
  const auto [high, high_height] = bar_of(svg, "theirs, 48K GitHub: 40<");
  EXPECT_NEAR(high + high_height, low, 0.2);
  EXPECT_NEAR(low_height / high_height, 1.5, 0.01);
  // A full stack ends at the scale's last line.
  EXPECT_THAT(svg, HasSubstr(">100<"));
  EXPECT_THAT(svg, Not(HasSubstr(">125<")));
}

TEST(BarFigure, TheReferenceIsALineAndKeepsRoom) {
  BarFigure figure = bars();
  figure.reference = 50.0;
  const std::string svg = bar_figure(figure);
  EXPECT_EQ(count(svg, "stroke-dasharray"), 1);
  EXPECT_THAT(svg, HasSubstr(">60<"));
}

TEST(BarFigure, SameInputSameBytes) { EXPECT_EQ(bar_figure(bars()), bar_figure(bars())); }

LineFigure lines() {
  LineFigure figure;
  figure.title = "Scaling";
  figure.x_axis = "devices";
  figure.y_axis = "tokens";
  figure.x = {16, 32, 64};
  figure.series = {{"ours", {100.0, 200.0, 400.0}}, {"theirs", {90.0, kNone, 300.0}}};
  return figure;
}

std::pair<double, double> point_of(const std::string& svg, const std::string& hover) {
  const std::regex shape("<circle cx=\"([^\"]+)\" cy=\"([^\"]+)\" r=\"4\" fill=\"[^\"]+\"><title>" +
                         hover);
  std::smatch match;
  if (!std::regex_search(svg, match, shape)) {
    ADD_FAILURE() << "no point " << hover;
    return {0.0, 0.0};
  }
  return {std::stod(match[1]), std::stod(match[2])};
}

TEST(LineFigure, DoublingIsAStraightLineOnLogarithmicAxes) {
  LineFigure figure = lines();
  figure.log_x = figure.log_y = true;
  const std::string svg = line_figure(figure);
  expect_well_formed(svg);
  const auto a = point_of(svg, "ours, 16: 100<");
  const auto b = point_of(svg, "ours, 32: 200<");
  const auto c = point_of(svg, "ours, 64: 400<");
  EXPECT_NEAR(b.first - a.first, c.first - b.first, 0.2);
  EXPECT_NEAR(a.second - b.second, b.second - c.second, 0.2);
  EXPECT_GT(a.second, b.second);
  EXPECT_EQ(count(svg, "<circle"), 5);
  EXPECT_EQ(count(svg, "<polyline"), 2);
}

TEST(LineFigure, LinearAxesStartAtZero) {
  const std::string svg = line_figure(lines());
  expect_well_formed(svg);
  const auto a = point_of(svg, "ours, 16: 100<");
  const auto b = point_of(svg, "ours, 32: 200<");
  const auto c = point_of(svg, "ours, 64: 400<");
  EXPECT_NEAR((c.first - b.first) / (b.first - a.first), 2.0, 0.01);
  EXPECT_NEAR((b.second - c.second) / (a.second - b.second), 2.0, 0.01);
  EXPECT_THAT(svg, HasSubstr(">0<"));
}

TEST(LineFigure, OnePointAndNothing) {
  LineFigure figure = lines();
  figure.x = {8};
  figure.series = {{"ours", {3.0}}, {"none", {kNone}}};
  for (const bool log : {false, true}) {
    figure.log_x = figure.log_y = log;
    expect_well_formed(line_figure(figure));
  }
}

}  // namespace
}  // namespace infinipipe
