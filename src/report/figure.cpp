#include "report/figure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "infinipipe/base/error.h"
#include "report/html_text.h"

namespace infinipipe {
namespace {

constexpr std::array<const char*, 10> kColours = {"#1b5fae", "#6aaed6", "#d9822b", "#e8b878",
                                                  "#b8554e", "#3f8f6b", "#98c9a9", "#7a68a6",
                                                  "#8a8f98", "#c3c7cd"};
constexpr const char* kInk = "#22262b";
constexpr const char* kMuted = "#5d6570";
constexpr const char* kGrid = "#e3e6ea";

constexpr double kWidth = 960.0;
constexpr double kLeft = 72.0;
constexpr double kRight = 24.0;
constexpr double kPlotHeight = 300.0;

std::string number(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  return text;
}

// A coordinate.
std::string at(double value) { return number(value, 1); }

// "1,234", "12.5", "0.04": three digits where that is enough.
std::string value_text(double value) {
  const double size = std::fabs(value);
  if (size >= 1000.0) {
    std::string digits = number(value, 0);
    for (int i = static_cast<int>(digits.size()) - 3; i > 0; i -= 3) {
      digits.insert(static_cast<std::size_t>(i), ",");
    }
    return digits;
  }
  std::string text = number(value, size >= 100.0 ? 0 : size >= 10.0 ? 1 : 2);
  if (text.find('.') == std::string::npos) return text;
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text;
}

// 1, 2, 2.5 or 5 times a power of ten, for about five steps up to `most`.
double tick_step(double most) {
  const double raw = most / 5.0;
  double power = 1.0;
  while (power * 10.0 <= raw) power *= 10.0;
  while (power > raw) power /= 10.0;
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= raw * (1.0 - 1e-9)) return factor * power;
  }
  return 10.0 * power;
}

class Canvas final {
 public:
  Canvas(const std::string& title, const std::string& subtitle,
         const std::vector<FigureSeries>& series) {
    body_ += text_at(kLeft, 30, title,
                     "font-size=\"17\" font-weight=\"600\" fill=\"" + std::string(kInk) + "\"");
    double y = 50.0;
    if (!subtitle.empty()) {
      body_ += text_at(kLeft, y, subtitle, muted(12));
      y += 8.0;
    } else {
      y -= 12.0;
    }
    y += 18.0;
    double x = kLeft;
    for (std::size_t i = 0; i < series.size(); ++i) {
      const double width = 24.0 + 6.7 * static_cast<double>(series[i].name.size());
      if (x + width > kWidth - kRight && x > kLeft) {
        x = kLeft;
        y += 20.0;
      }
      body_ += "<rect x=\"" + at(x) + "\" y=\"" + at(y - 10.0) +
               "\" width=\"12\" height=\"12\" rx=\"2\" fill=\"" + colour(i) + "\"/>\n";
      body_ += text_at(x + 17.0, y, series[i].name,
                       "font-size=\"12\" fill=\"" + std::string(kInk) + "\"");
      x += width + 10.0;
    }
    top_ = y + 22.0;
  }

  double top() const { return top_; }
  double bottom() const { return top_ + kPlotHeight; }
  static double plot_width() { return kWidth - kLeft - kRight; }
  static std::string colour(std::size_t i) { return kColours[i % kColours.size()]; }
  static std::string muted(int size, const char* anchor = "start") {
    return "font-size=\"" + std::to_string(size) + "\" fill=\"" + kMuted + "\" text-anchor=\"" +
           anchor + "\"";
  }
  static std::string text_at(double x, double y, const std::string& text,
                             const std::string& style) {
    return "<text x=\"" + at(x) + "\" y=\"" + at(y) + "\" " + style + ">" + escaped_html(text) +
           "</text>\n";
  }

  void add(const std::string& element) { body_ += element; }
  void grid(double y, const std::string& label, const char* line = kGrid) {
    body_ += "<line x1=\"" + at(kLeft) + "\" x2=\"" + at(kWidth - kRight) + "\" y1=\"" + at(y) +
             "\" y2=\"" + at(y) + "\" stroke=\"" + line + "\"/>\n";
    body_ += text_at(kLeft - 8.0, y + 4.0, label, muted(11, "end"));
  }
  void axis_name(const std::string& name) {
    const double middle = top_ + kPlotHeight / 2.0;
    body_ += "<text transform=\"translate(18 " + at(middle) + ") rotate(-90)\" " +
             muted(12, "middle") + ">" + escaped_html(name) + "</text>\n";
  }

  std::string svg(double height) const {
    return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + number(kWidth, 0) + " " +
           number(height, 0) + "\" width=\"" + number(kWidth, 0) + "\" height=\"" +
           number(height, 0) +
           "\" font-family=\"system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, "
           "sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n" +
           body_ + "</svg>\n";
  }

 private:
  std::string body_;
  double top_ = 0.0;
};

std::string bar(double x, double y, double width, double height, const std::string& colour,
                const std::string& hover) {
  return "<rect x=\"" + at(x) + "\" y=\"" + at(y) + "\" width=\"" + at(width) + "\" height=\"" +
         at(height) + "\" fill=\"" + colour + "\"><title>" + escaped_html(hover) +
         "</title></rect>\n";
}

// Colours that need dark text on them.
bool light(std::size_t series) {
  const std::size_t i = series % kColours.size();
  return i == 1 || i == 3 || i == 6 || i == 9;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

double largest(const BarFigure& figure) {
  double most = figure.reference;
  for (std::size_t g = 0; g < figure.groups.size(); ++g) {
    double sum = 0.0;
    for (const FigureSeries& series : figure.series) {
      const double value = series.values[g];
      if (std::isnan(value)) continue;
      sum = figure.stacked ? sum + value : std::max(sum, value);
    }
    most = std::max(most, sum);
  }
  return most > 0.0 ? most : 1.0;
}

void check(const std::vector<FigureSeries>& series, std::size_t size) {
  for (const FigureSeries& one : series) {
    INFINIPIPE_ASSERT(one.values.size() == size, "a series of another length than its axis");
  }
}

}  // namespace

std::string bar_figure(const BarFigure& figure) {
  check(figure.series, figure.groups.size());
  Canvas canvas(figure.title, figure.subtitle, figure.series);
  const double most = largest(figure);
  const double headroom = figure.stacked ? 1.0 : 1.02;  // for labels above the bars
  const double step = tick_step(most * headroom);
  const double scale_top = step * std::ceil(most * headroom / step - 1e-9);
  const auto y_of = [&](double value) { return canvas.bottom() - kPlotHeight * value / scale_top; };
  for (int i = 0; i * step <= scale_top * (1.0 + 1e-9); ++i) {
    canvas.grid(y_of(i * step), value_text(i * step), i == 0 ? "#9aa1aa" : kGrid);
  }
  canvas.axis_name(figure.y_axis);

  const std::size_t lanes = figure.stacked ? 1 : figure.series.size();
  const double slot = Canvas::plot_width() / static_cast<double>(figure.groups.size());
  const double width =
      std::min(figure.stacked ? 64.0 : 40.0, 0.84 * slot / static_cast<double>(lanes));
  const bool labels = width >= (figure.stacked ? 30.0 : 24.0);
  for (std::size_t g = 0; g < figure.groups.size(); ++g) {
    const double middle = kLeft + (static_cast<double>(g) + 0.5) * slot;
    double x = middle - 0.5 * width * static_cast<double>(lanes);
    double below = 0.0;
    for (std::size_t s = 0; s < figure.series.size(); ++s) {
      const FigureSeries& series = figure.series[s];
      const double value = series.values[g];
      const std::string hover = series.name + ", " + one_line(figure.groups[g]) + ": ";
      if (std::isnan(value)) {
        canvas.add(Canvas::text_at(x + width / 2.0, canvas.bottom() - 4.0, figure.absent,
                                   Canvas::muted(10, "middle")));
      } else {
        const double high = y_of(below + value);
        const double low = y_of(below);
        canvas.add(bar(x, high, figure.stacked ? width : std::max(1.0, width - 1.0), low - high,
                       Canvas::colour(s), hover + value_text(value)));
        if (labels && !figure.stacked) {
          canvas.add(Canvas::text_at(x + width / 2.0, high - 4.0, number(value, figure.decimals),
                                     Canvas::muted(10, "middle")));
        } else if (labels && low - high >= 13.0) {
          canvas.add(Canvas::text_at(x + width / 2.0, (low + high) / 2.0 + 4.0,
                                     number(value, figure.decimals),
                                     "font-size=\"10\" text-anchor=\"middle\" fill=\"" +
                                         std::string(light(s) ? kInk : "#ffffff") + "\""));
        }
      }
      if (figure.stacked) {
        below += std::isnan(value) ? 0.0 : value;
      } else {
        x += width;
      }
    }
    const std::size_t line = figure.groups[g].find('\n');
    canvas.add(Canvas::text_at(middle, canvas.bottom() + 18.0, figure.groups[g].substr(0, line),
                               Canvas::muted(11, "middle")));
    if (line == std::string::npos) continue;
    canvas.add(Canvas::text_at(middle, canvas.bottom() + 33.0, figure.groups[g].substr(line + 1),
                               Canvas::muted(11, "middle")));
  }
  if (figure.reference > 0.0) {
    const double y = y_of(figure.reference);
    canvas.add("<line x1=\"" + at(kLeft) + "\" x2=\"" + at(kWidth - kRight) + "\" y1=\"" + at(y) +
               "\" y2=\"" + at(y) + "\" stroke=\"" + kInk + "\" stroke-dasharray=\"5 4\"/>\n");
  }
  return canvas.svg(canvas.bottom() + 50.0);
}

std::string line_figure(const LineFigure& figure) {
  check(figure.series, figure.x.size());
  INFINIPIPE_ASSERT(!figure.x.empty(), "a figure without points");
  Canvas canvas(figure.title, figure.subtitle, figure.series);
  double most = 0.0;
  double least = 0.0;
  for (const FigureSeries& series : figure.series) {
    for (const double value : series.values) {
      if (std::isnan(value)) continue;
      most = std::max(most, value);
      least = least > 0.0 ? std::min(least, value) : value;
    }
  }
  if (most <= 0.0) most = least = 1.0;
  double low = 0.0;
  double high = most;
  std::vector<double> ticks;
  if (figure.log_y) {
    // Powers of two.
    low = 1.0;
    while (low > least) low /= 2.0;
    while (low * 2.0 <= least) low *= 2.0;
    for (high = low; high < most; high *= 2.0) ticks.push_back(high);
    ticks.push_back(high);
    while (ticks.size() > 9) {
      std::vector<double> fewer;
      for (std::size_t i = 0; i < ticks.size(); i += 2) fewer.push_back(ticks[i]);
      ticks = fewer;
    }
    if (high <= low) high = 2.0 * low;
  } else {
    const double step = tick_step(most * 1.02);
    high = step * std::ceil(most * 1.02 / step - 1e-9);
    for (int i = 0; i * step <= high * (1.0 + 1e-9); ++i) ticks.push_back(i * step);
  }
  const auto y_of = [&](double value) {
    const double share = figure.log_y ? std::log2(value / low) / std::log2(high / low)
                                      : (value - low) / (high - low);
    return canvas.bottom() - kPlotHeight * share;
  };
  const double first = figure.x.front();
  const double last = figure.x.back();
  const double margin = 24.0;
  const auto x_of = [&](double value) {
    if (last <= first) return kLeft + Canvas::plot_width() / 2.0;
    const double share = figure.log_x ? std::log2(value / first) / std::log2(last / first)
                                      : (value - first) / (last - first);
    return kLeft + margin + (Canvas::plot_width() - 2.0 * margin) * share;
  };
  for (const double tick : ticks) {
    canvas.grid(y_of(tick), value_text(tick), tick == ticks.front() ? "#9aa1aa" : kGrid);
  }
  canvas.axis_name(figure.y_axis);
  for (const double value : figure.x) {
    canvas.add(Canvas::text_at(x_of(value), canvas.bottom() + 18.0, value_text(value),
                               Canvas::muted(11, "middle")));
  }
  canvas.add(Canvas::text_at(kLeft + Canvas::plot_width() / 2.0, canvas.bottom() + 38.0,
                             figure.x_axis, Canvas::muted(12, "middle")));
  for (std::size_t s = 0; s < figure.series.size(); ++s) {
    const FigureSeries& series = figure.series[s];
    std::string points;
    std::string marks;
    for (std::size_t i = 0; i < figure.x.size(); ++i) {
      const double value = series.values[i];
      if (std::isnan(value)) continue;
      const std::string x = at(x_of(figure.x[i]));
      const std::string y = at(y_of(value));
      points += (points.empty() ? "" : " ") + x + "," + y;
      marks += "<circle cx=\"" + x + "\" cy=\"" + y + "\" r=\"4\" fill=\"" + Canvas::colour(s) +
               "\"><title>" + escaped_html(series.name) + ", " + value_text(figure.x[i]) + ": " +
               value_text(value) + "</title></circle>\n";
    }
    canvas.add("<polyline points=\"" + points + "\" fill=\"none\" stroke=\"" + Canvas::colour(s) +
               "\" stroke-width=\"2\"/>\n" + marks);
  }
  return canvas.svg(canvas.bottom() + 54.0);
}

}  // namespace infinipipe
