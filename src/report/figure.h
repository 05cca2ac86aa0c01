// Figures for pages and papers: bars and lines as self-contained SVG.
#pragma once

#include <string>
#include <vector>

namespace infinipipe {

// One value for each group (bars) or x (lines); NaN: there is none.
struct FigureSeries {
  std::string name;
  std::vector<double> values;
};

// Values are shown from zero up and must not be negative.
struct BarFigure {
  std::string title;
  std::string subtitle;
  std::string y_axis;
  std::vector<std::string> groups;  // '\n' starts a second line
  std::vector<FigureSeries> series;
  bool stacked = false;      // one bar a group, the series on top of one another
  double reference = 0.0;    // a dashed line there; 0: none
  std::string absent = "x";  // stands where a value is NaN
  int decimals = 2;          // of the values that are written at the bars
};

// Points are joined in order of x.
struct LineFigure {
  std::string title;
  std::string subtitle;
  std::string x_axis;
  std::string y_axis;
  std::vector<double> x;  // ascending; > 0 where log_x
  std::vector<FigureSeries> series;
  bool log_x = false;  // a tick at each x
  bool log_y = false;  // values > 0
};

// Text is escaped; hovering over a mark names series, group and value. The same input gives the
// same bytes on every machine. Series of another length than groups or x are a bug.
std::string bar_figure(const BarFigure& figure);
std::string line_figure(const LineFigure& figure);

}  // namespace infinipipe
