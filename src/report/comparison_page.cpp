#include <algorithm>
#include <array>
#include <cmath>

#include "base/file.h"
#include "report/comparison.h"
#include "report/system_row.h"
#include "report/text_table.h"

namespace infinipipe {

namespace {

const char* const kStyle = R"css(
:root { --bg: #f6f7f9; --card: #fff; --line: #dde1e7; --text: #1b2330; --soft: #667085; }
@media (prefers-color-scheme: dark) {
  :root { --bg: #12161d; --card: #1b212b; --line: #323b49; --text: #e6eaf0; --soft: #93a0b4; }
}
body { margin: 0; background: var(--bg); color: var(--text);
  font: 14px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 18px 22px 40px; }
h1 { font-size: 20px; margin: 0 0 2px; } h2 { font-size: 15px; margin: 0 0 8px; }
.sub { color: var(--soft); margin: 0 0 14px; }
.panel { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  margin-top: 12px; padding: 12px 14px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 500; font-size: 12px; }
th, td { text-align: right; padding: 4px 8px; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
td.text { color: var(--soft); font-size: 12px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--text); font: 12px system-ui, "DejaVu Sans", sans-serif; }
svg .soft { fill: var(--soft); } svg .grid { stroke: var(--line); }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
.note { color: var(--soft); font-size: 12px; margin: 8px 0 0; }
)css";

constexpr std::array<const char*, 10> kColours = {"#2563eb", "#f59e0b", "#10b981", "#ef4444",
                                                  "#8b5cf6", "#0ea5e9", "#d946ef", "#84cc16",
                                                  "#f97316", "#64748b"};

const char* colour(std::size_t system) { return kColours[system % kColours.size()]; }

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string text_at(double x, double y, const std::string& text, const char* anchor,
                    const char* kind = "") {
  return "<text x=\"" + fixed(x, 1) + "\" y=\"" + fixed(y, 1) + "\" text-anchor=\"" + anchor +
         "\" class=\"" + kind + "\">" + escape(text) + "</text>";
}

std::string line_at(double x1, double y1, double x2, double y2, const std::string& style) {
  return "<line x1=\"" + fixed(x1, 1) + "\" y1=\"" + fixed(y1, 1) + "\" x2=\"" + fixed(x2, 1) +
         "\" y2=\"" + fixed(y2, 1) + "\" " + style + "/>";
}

// A round step of which about `parts` make `most`.
double tick(double most, int parts) {
  const double raw = std::max(most, 1e-12) / parts;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power) return factor * power;
  }
  return 10.0 * power;
}

std::string axis_text(double value, double step) {
  return fixed(value, step >= 1.0 ? 0 : step >= 0.1 ? 1 : 2);
}

// Mean step of every system; a mark at its own bound, a thin line from its fastest to its slowest.
std::string bars(const Comparison& comparison, const std::vector<SystemRow>& rows) {
  constexpr double kLeft = 110.0;
  constexpr double kWidth = 1060.0;
  constexpr double kRow = 34.0;
  Seconds most = 0.0;
  for (const ComparisonRow& row : comparison.rows) most = std::max(most, row.seconds);
  most = std::max(most * 1.02, 1e-9);
  const double step = tick(most, 8);
  const double height = kRow * static_cast<double>(rows.size()) + 30.0;
  const auto x = [&](double seconds) { return kLeft + kWidth * seconds / most; };
  std::string svg = "<svg viewBox=\"0 0 1290 " + fixed(height, 0) + "\" role=\"img\">";
  for (double at = 0.0; at <= most; at += step) {
    svg += line_at(x(at), 4, x(at), height - 24, "class=\"grid\"");
    svg += text_at(x(at), height - 8, axis_text(at, step), "middle", "soft");
  }
  svg += text_at(kLeft + kWidth + 16, height - 8, "seconds", "start", "soft");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const ComparisonSummary& s = rows[i].summary;
    const double y = kRow * static_cast<double>(i) + 6.0;
    svg += text_at(kLeft - 8, y + 16, s.planner, "end");
    if (s.batches == 0) {
      svg += text_at(kLeft + 8, y + 16, "out of memory", "start", "soft");
      continue;
    }
    Seconds least = most;
    Seconds worst = 0.0;
    Seconds bound = 0.0;
    for (const ComparisonRow& row : comparison.rows) {
      if (row.planner != s.planner || row.status != "ok") continue;
      least = std::min(least, row.seconds);
      worst = std::max(worst, row.seconds);
      bound += row.lower_bound / s.batches;
    }
    svg += "<rect x=\"" + fixed(kLeft, 1) + "\" y=\"" + fixed(y, 1) + "\" width=\"" +
           fixed(x(s.seconds_mean) - kLeft, 1) + "\" height=\"22\" rx=\"3\" fill=\"" + colour(i) +
           "\" fill-opacity=\"0.85\"><title>" + escape(rows[i].settings) + "</title></rect>";
    svg += line_at(x(least), y + 11, x(worst), y + 11,
                   "stroke=\"currentColor\" stroke-opacity=\"0.55\" stroke-width=\"1.5\"");
    svg += line_at(x(bound), y - 2, x(bound), y + 24,
                   "stroke=\"currentColor\" stroke-width=\"2\" stroke-dasharray=\"3 2\"");
    svg += text_at(std::max(x(worst), x(s.seconds_mean)) + 6, y + 16, fixed(s.seconds_mean, 3),
                   "start");
  }
  return svg + "</svg>";
}

// Seconds of every batch, batches side by side in ascending order of tokens.
std::string points(const Comparison& comparison) {
  constexpr double kLeft = 60.0;
  constexpr double kWidth = 1200.0;
  constexpr double kHeight = 300.0;
  Seconds most = 0.0;
  for (const ComparisonRow& row : comparison.rows) most = std::max(most, row.seconds);
  most = std::max(most * 1.05, 1e-9);
  const double step = tick(most, 6);
  std::vector<int> order(comparison.batch_tokens.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return comparison.batch_tokens[static_cast<std::size_t>(a)] <
           comparison.batch_tokens[static_cast<std::size_t>(b)];
  });
  std::vector<double> x_of(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    x_of[static_cast<std::size_t>(order[i])] =
        kLeft + kWidth * (static_cast<double>(i) + 0.5) / static_cast<double>(order.size());
  }
  const auto y = [&](double seconds) { return 10.0 + kHeight * (1.0 - seconds / most); };
  std::string svg = "<svg viewBox=\"0 0 1290 350\" role=\"img\">";
  for (double at = 0.0; at <= most; at += step) {
    svg += line_at(kLeft, y(at), kLeft + kWidth, y(at), "class=\"grid\"");
    svg += text_at(kLeft - 6, y(at) + 4, axis_text(at, step), "end", "soft");
  }
  svg += text_at(kLeft + kWidth, 345, "batches by tokens", "end", "soft");
  svg += text_at(kLeft - 44, 345, "seconds", "start", "soft");
  for (std::size_t p = 0; p < comparison.planners.size(); ++p) {
    std::vector<std::pair<double, double>> line;
    std::string dots;
    for (const ComparisonRow& row : comparison.rows) {
      if (row.planner != comparison.planners[p] || row.status != "ok") continue;
      const auto b = static_cast<std::size_t>(row.batch);
      line.emplace_back(x_of[b], y(row.seconds));
      dots += "<circle cx=\"" + fixed(x_of[b], 1) + "\" cy=\"" + fixed(y(row.seconds), 1) +
              "\" r=\"3.2\" fill=\"" + colour(p) + "\"><title>" +
              escape("batch " + std::to_string(row.batch) + ", " +
                     format_count(comparison.batch_tokens[b]) + " tokens, " + row.planner + ": " +
                     fixed(row.seconds, 3) + " s, bound " + fixed(row.lower_bound, 3) + " s; " +
                     settings_text(row.settings)) +
              "</title></circle>";
    }
    std::sort(line.begin(), line.end());
    std::string path;
    for (const auto& [px, py] : line) path += fixed(px, 1) + "," + fixed(py, 1) + " ";
    svg += "<polyline points=\"" + path + "\" fill=\"none\" stroke=\"" + colour(p) +
           "\" stroke-opacity=\"0.45\" stroke-width=\"1.5\"/>" + dots;
  }
  return svg + "</svg>";
}

std::string table(const Comparison& comparison, const std::vector<SystemRow>& rows) {
  const bool speedups = std::any_of(rows.begin(), rows.end(), [](const SystemRow& row) {
    return row.summary.speedup_mean > 0.0;
  });
  const bool measured =
      comparison.notes.is_object() && comparison.notes.contains("measured_seconds");
  std::string html =
      "<table><tr><th>system</th><th>batches</th><th>step s</th><th>tokens/s</th><th>bubble</th>"
      "<th>peak</th><th>over its bound</th>";
  if (speedups) html += "<th>" + escape(comparison.reference) + " is faster by</th>";
  if (measured) html += "<th>with allowance</th><th>measured</th><th>error</th>";
  html += "<th class=\"text\">settings of most batches</th></tr>\n";
  const auto cell = [](const std::string& text) { return "<td>" + escape(text) + "</td>"; };
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const SystemRow& row = rows[i];
    const ComparisonSummary& s = row.summary;
    const bool any = s.batches > 0;
    html += "<tr><td><span class=\"swatch\" style=\"background:" + std::string(colour(i)) +
            "\"></span>" + escape(s.planner) + "</td>" + cell(std::to_string(s.batches));
    html += cell(any ? fixed(s.seconds_mean, 3) : "-");
    html += cell(any ? format_count(static_cast<std::int64_t>(row.tokens_per_second)) : "-");
    html += cell(any ? percent(row.bubble) : "-");
    html += cell(any ? format_bytes(row.peak) : "-");
    html += cell(any ? percent(s.gap_mean) : "-");
    if (speedups) {
      html +=
          cell(s.speedup_mean > 0.0 ? fixed(s.speedup_mean, 2) + "x (" + fixed(s.speedup_min, 2) +
                                          " to " + fixed(s.speedup_max, 2) + ")"
                                    : "-");
    }
    if (measured) {
      const Json& there = comparison.notes.at("measured_seconds");
      const bool known = any && there.contains(s.planner);
      const Seconds with = s.seconds_mean + comparison.allowance;
      html += cell(any ? fixed(with, 3) : "-");
      html += cell(known ? fixed(there.at(s.planner).get<double>(), 2) : "-");
      html += cell(known ? percent(with / there.at(s.planner).get<double>() - 1.0) : "-");
    }
    html += "<td class=\"text\">" +
            escape(any ? row.settings + " (" + std::to_string(row.settings_count) + ")"
                       : "out of memory") +
            (row.reason.empty() ? "" : "<br>" + escape(row.reason)) + "</td></tr>\n";
  }
  return html + "</table>";
}

}  // namespace

std::string html_comparison(const Comparison& comparison) {
  const std::vector<SystemRow> rows = system_rows(comparison);
  const std::string title =
      comparison.title.empty() ? "Systems on the same batches" : comparison.title;
  Tokens tokens = 0;
  for (const Tokens n : comparison.batch_tokens) tokens += n;
  std::string html = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<title>" +
                     escape(title) + "</title>\n<style>" + kStyle +
                     "</style></head>\n<body><main>\n";
  html +=
      "<h1>" + escape(title) + "</h1>\n<p class=\"sub\">" +
      escape(std::to_string(comparison.devices) + " devices, " + std::to_string(comparison.layers) +
             " layers, " + std::to_string(comparison.batch_tokens.size()) + " batches, " +
             format_count(tokens) + " tokens; " + comparison.machine) +
      "</p>\n";
  html += "<div class=\"panel\">" + table(comparison, rows);
  if (comparison.allowance > 0.0) {
    html += "<p class=\"note\">Step seconds are the model's alone; the allowance is " +
            escape(format_seconds(comparison.allowance)) + " a step.</p>";
  }
  html +=
      "</div>\n<div class=\"panel\"><h2>Mean step</h2>" + bars(comparison, rows) +
      "<p class=\"note\">Thin line: fastest to slowest batch. Dashed mark: mean of the system's "
      "own proven lower bound.</p></div>\n";
  html += "<div class=\"panel\"><h2>Every batch</h2>" + points(comparison) +
          "<p class=\"note\">Hover a point for its settings.</p></div>\n</main></body></html>\n";
  return html;
}

void write_html_comparison(const std::string& path, const Comparison& comparison) {
  write_file(path, html_comparison(comparison));
}

}  // namespace infinipipe
