#include "report/residuals.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <utility>

#include "base/file.h"
#include "base/statistics.h"
#include "report/html_text.h"

namespace infinipipe {
namespace {

struct Errors {
  std::size_t count = 0;
  double median = 0.0;
  double p95 = 0.0;
  double bias = 0.0;
};

Errors errors_of(const std::vector<const ResidualPoint*>& points) {
  std::vector<double> sizes;
  std::vector<double> signs;
  for (const ResidualPoint* point : points) {
    signs.push_back(point->predicted / point->measured - 1.0);
    sizes.push_back(std::abs(signs.back()));
  }
  Errors errors;
  errors.count = points.size();
  if (points.empty()) return errors;
  errors.median = quantile(sizes, 0.5);
  errors.p95 = quantile(sizes, 0.95);
  errors.bias = quantile(signs, 0.5);
  return errors;
}

std::string row(const std::string& series, const std::string& kind, const Errors& errors) {
  std::array<char, 160> line{};
  std::snprintf(line.data(), line.size(), "%-24s %-8s %6zu %8.1f%% %8.1f%% %+8.1f%%\n",
                series.c_str(), kind.c_str(), errors.count, 100.0 * errors.median,
                100.0 * errors.p95, 100.0 * errors.bias);
  return line.data();
}

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  return text.data();
}

constexpr const char* kColours[] = {"#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626"};

// A logarithmic square plot of points between two decades.
class Plot final {
 public:
  Plot(double low, double high)
      : low_(std::floor(std::log10(low))), high_(std::ceil(std::log10(high))) {
    if (high_ <= low_) high_ = low_ + 1.0;
  }

  std::string axes() const {
    std::string svg;
    for (double decade = low_; decade <= high_; ++decade) {
      const std::string x = number(axis_position(std::pow(10.0, decade)));
      const std::string y = number(kSide - axis_position(std::pow(10.0, decade)));
      const std::string end = number(kSide);
      svg += "<line class='grid' x1='" + x + "' y1='0' x2='" + x + "' y2='" + end + "'/>";
      svg += "<line class='grid' x1='0' y1='" + y + "' x2='" + end + "' y2='" + y + "'/>";
      const std::string name = format_seconds(std::pow(10.0, decade));
      svg += "<text x='" + x + "' y='" + number(kSide + 20.0) + "' text-anchor='middle'>" + name +
             "</text>";
      svg += "<text x='-8' y='" + number(kSide - axis_position(std::pow(10.0, decade)) + 4.0) +
             "' text-anchor='end'>" + name + "</text>";
    }
    // Exact, and 10% off on either side.
    const auto line = [&](double factor, const char* style) {
      const double shift = std::log10(factor) / (high_ - low_) * kSide;
      svg += std::string("<line class='") + style + "' x1='0' y1='" + number(kSide - shift) +
             "' x2='" + number(kSide) + "' y2='" + number(-shift) + "'/>";
    };
    line(1.0, "exact");
    line(1.1, "near");
    line(1.0 / 1.1, "near");
    return svg;
  }

  std::string dot(const ResidualPoint& point, const char* colour) const {
    std::array<char, 32> off{};
    std::snprintf(off.data(), off.size(), "%+.1f%%",
                  100.0 * (point.predicted / point.measured - 1.0));
    return "<circle cx='" + number(axis_position(point.measured)) + "' cy='" +
           number(kSide - axis_position(point.predicted)) + "' r='3.2' fill='" + colour +
           "'><title>" + escaped_html(point.series + " " + point.kind + ": " + point.label) +
           "&#10;measured " + format_seconds(point.measured) + ", predicted " +
           format_seconds(point.predicted) + " (" + off.data() + ")</title></circle>";
  }

  static constexpr double kSide = 640.0;

 private:
  double axis_position(double value) const {
    return (std::log10(value) - low_) / (high_ - low_) * kSide;
  }

  double low_;
  double high_;
};

}  // namespace

std::string residual_table(const std::vector<ResidualPoint>& points) {
  std::map<std::pair<std::string, std::string>, std::vector<const ResidualPoint*>> groups;
  std::vector<std::pair<std::string, std::string>> order;
  std::vector<const ResidualPoint*> all;
  for (const ResidualPoint& point : points) {
    if (point.measured <= 0.0) continue;
    auto& group = groups[{point.series, point.kind}];
    if (group.empty()) order.emplace_back(point.series, point.kind);
    group.push_back(&point);
    all.push_back(&point);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string text = "instruction              chunk     count    median       95%      bias\n";
  for (const auto& key : order) text += row(key.first, key.second, errors_of(groups[key]));
  return text + row("all", "", errors_of(all));
}

void write_residuals_html(const std::string& path, const std::string& title,
                          const std::vector<ResidualPoint>& points) {
  double low = 1e300;
  double high = 0.0;
  std::vector<std::string> series;
  for (const ResidualPoint& point : points) {
    if (point.measured <= 0.0 || point.predicted <= 0.0) continue;
    low = std::min({low, point.measured, point.predicted});
    high = std::max({high, point.measured, point.predicted});
    if (std::find(series.begin(), series.end(), point.series) == series.end()) {
      series.push_back(point.series);
    }
  }
  if (high <= 0.0) low = high = 1.0;
  const Plot plot(low, high);
  std::string page =
      "<!doctype html><meta charset='utf-8'><title>Predicted and measured</title><style>"
      "body{font:14px system-ui,sans-serif;margin:24px;background:#fff;color:#1b2330}"
      "h1{font-size:19px;margin:0 0 4px}.grid{stroke:#e3e6eb}.exact{stroke:#1b2330}"
      ".near{stroke:#98a2b3;stroke-dasharray:4 4}text{font-size:12px;fill:#667085}"
      "circle{fill-opacity:.65}pre{font-size:13px}"
      ".key i{display:inline-block;width:11px;height:11px;border-radius:6px;margin:0 5px 0 14px}"
      "main{display:flex;gap:32px;flex-wrap:wrap;align-items:flex-start}</style>"
      "<h1>Predicted against measured time of instructions</h1><p>" +
      escaped_html(title) + "; dashed: 10% off</p><p class='key'>";
  for (std::size_t i = 0; i < series.size(); ++i) {
    page +=
        std::string("<i style='background:") + kColours[i % 5] + "'></i>" + escaped_html(series[i]);
  }
  page += "</p><main><svg width='760' height='720' viewBox='-80 -20 760 720'>" + plot.axes();
  for (const ResidualPoint& point : points) {
    if (point.measured <= 0.0 || point.predicted <= 0.0) continue;
    const auto at = std::find(series.begin(), series.end(), point.series) - series.begin();
    page += plot.dot(point, kColours[static_cast<std::size_t>(at) % 5]);
  }
  page +=
      "<text x='320' y='690' text-anchor='middle'>measured</text>"
      "<text x='-320' y='-62' text-anchor='middle' transform='rotate(-90)'>predicted</text>"
      "</svg><pre>" +
      escaped_html(residual_table(points)) + "</pre></main>\n";
  write_file(path, page);
}

}  // namespace infinipipe
