#include "report/positions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"
#include "report/figure.h"
#include "report/html_text.h"

namespace infinipipe {
namespace {

constexpr std::size_t kOpening = 4;  // ranges, to position 7
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Where any curve has a point.
std::vector<Tokens> ends(const std::vector<PositionCurve>& curves) {
  std::set<Tokens> all;
  for (const PositionCurve& curve : curves) {
    for (const PositionLoss& point : curve.points) all.insert(point.end);
  }
  return {all.begin(), all.end()};
}

double loss_at(const PositionCurve& curve, Tokens end) {
  for (const PositionLoss& point : curve.points) {
    if (point.end == end) return point.loss;
  }
  return kNone;
}

}  // namespace

nlohmann::ordered_json positions_json(const std::vector<PositionLoss>& points) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const PositionLoss& each : points) {
    json.push_back(
        {{"begin", each.begin}, {"end", each.end}, {"targets", each.targets}, {"loss", each.loss}});
  }
  return json;
}

PositionCurve read_position_curve(const std::string& path) {
  const Json json = read_json_file(path, std::size_t{1} << 24);
  const JsonView view(json, path);
  PositionCurve curve;
  curve.name = view.string_or("checkpoint", path);
  view.at("by_position").for_each([&](const JsonView& each) {
    PositionLoss point;
    point.begin = each.at("begin").integer(0);
    point.end = each.at("end").integer(point.begin + 1);
    point.targets = each.at("targets").number(0.0);
    point.loss = each.at("loss").number(0.0);
    curve.points.push_back(point);
  });
  return curve;
}

std::string position_table(const std::vector<PositionCurve>& curves) {
  std::string text;
  std::array<char, 64> cell{};
  if (curves.size() > 1) {  // which is which
    for (std::size_t i = 0; i < curves.size(); ++i) {
      text += "[" + std::to_string(i + 1) + "] " + curves[i].name + "\n";
    }
    text += "   positions" + std::string(16, ' ');
    for (std::size_t i = 0; i < curves.size(); ++i) {
      std::snprintf(cell.data(), cell.size(), "%10s", ("[" + std::to_string(i + 1) + "]").c_str());
      text += cell.data();
    }
    text += "\n";
  }
  for (const Tokens end : ends(curves)) {
    const Tokens begin = end / 2;
    std::snprintf(cell.data(), cell.size(), "%12s to %-12s", format_count(begin).c_str(),
                  format_count(end - 1).c_str());
    text += cell.data();
    for (const PositionCurve& curve : curves) {
      const double loss = loss_at(curve, end);
      if (std::isnan(loss)) {
        std::snprintf(cell.data(), cell.size(), "%10s", "-");
      } else {
        std::snprintf(cell.data(), cell.size(), "%10.4f", loss);
      }
      text += cell.data();
    }
    text += "\n";
  }
  return text;
}

std::string position_page(const std::vector<PositionCurve>& curves) {
  LineFigure figure;
  figure.title = "Loss by position";
  figure.subtitle = "mean over the predictions made there, in nats";
  figure.x_axis = "position in the document, up to";
  figure.y_axis = "loss";
  figure.log_x = true;
  const std::vector<Tokens> all = ends(curves);
  // A document's first tokens can hardly be guessed; drawn, they would flatten all that follows.
  const std::size_t skipped = all.size() > kOpening + 2 ? kOpening : 0;
  for (std::size_t i = skipped; i < all.size(); ++i) {
    figure.x.push_back(static_cast<double>(all[i]));
  }
  for (const PositionCurve& curve : curves) {
    FigureSeries series{curve.name, {}};
    for (std::size_t i = skipped; i < all.size(); ++i) {
      series.values.push_back(loss_at(curve, all[i]));
    }
    figure.series.push_back(std::move(series));
  }
  std::string page =
      "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Loss by position</title>\n"
      "<style>body{font:14px sans-serif;max-width:960px;margin:24px auto}"
      "td,th{padding:2px 12px;text-align:right}</style>\n" +
      line_figure(figure) + "\n<table><tr><th>positions</th>";
  for (const PositionCurve& curve : curves) page += "<th>" + escaped_html(curve.name) + "</th>";
  page += "</tr>\n";
  std::array<char, 32> cell{};
  for (const Tokens end : all) {
    page += "<tr><td>" + format_count(end / 2) + " to " + format_count(end - 1) + "</td>";
    for (const PositionCurve& curve : curves) {
      const double loss = loss_at(curve, end);
      std::snprintf(cell.data(), cell.size(), "%.4f", loss);
      page += std::string("<td>") + (std::isnan(loss) ? "" : cell.data()) + "</td>";
    }
    page += "</tr>\n";
  }
  return page + "</table></html>\n";
}

}  // namespace infinipipe
