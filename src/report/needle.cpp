#include "report/needle.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "report/html_text.h"

namespace infinipipe {
namespace {

std::string formatted(const char* format, double value) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

// The share of what a guess costs that is left: 0 green, 1 and more red.
std::string colour(double loss, double guess) {
  const double left = guess > 0.0 ? std::clamp(loss / guess, 0.0, 1.0) : 0.0;
  return "hsl(" + formatted("%.0f", 120.0 * (1.0 - left)) + " 60% 78%)";
}

std::string cell(double loss, double guess) {
  return "<td style=\"background:" + colour(loss, guess) + "\" title=\"" +
         formatted("%.4f nats a token\">", loss) + formatted("%.2f", loss) + "</td>";
}

}  // namespace

nlohmann::ordered_json needle_json(const NeedleLosses& losses) {
  return {{"lengths", losses.lengths},
          {"depths", losses.depths},
          {"loss", losses.loss},
          {"without", losses.without}};
}

std::string needle_table(const NeedleLosses& losses) {
  std::string text =
      "needle: loss of the pass key's tokens, by depth of the sentence\n      length";
  for (const double depth : losses.depths) text += formatted("%6.0f%%", 100.0 * depth);
  text += "  without it\n";
  for (std::size_t i = 0; i < losses.lengths.size(); ++i) {
    const std::string length = format_count(losses.lengths[i]);
    text += std::string(12 - std::min<std::size_t>(12, length.size()), ' ') + length;
    for (const double loss : losses.loss[i]) text += formatted("%7.2f", loss);
    text += formatted("%12.2f\n", losses.without[i]);
  }
  return text;
}

std::string needle_page(const NeedleLosses& losses, const std::string& name) {
  std::string page =
      "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Needle</title>\n"
      "<style>body{font:14px system-ui,sans-serif;margin:24px;background:#fff;color:#1b2330}"
      "td,th{padding:6px 10px;text-align:right;font-weight:400}"
      "td{border-radius:3px;color:#1b2330}p{max-width:60em}</style>\n<h1>Needle</h1>\n<p>" +
      escaped_html(name) +
      ": a sentence names a pass key, and the text's end asks for it. Each number is the mean loss "
      "of the key's tokens in nats: 0 where the model is sure of it; as in the last column, where "
      "the text never names the key, if it only guesses.</p>\n<table><tr><th>length</th>";
  for (const double depth : losses.depths)
    page += "<th>" + formatted("%.0f%%", 100.0 * depth) + "</th>";
  page += "<th>without it</th></tr>\n";
  for (std::size_t i = 0; i < losses.lengths.size(); ++i) {
    page += "<tr><th>" + format_count(losses.lengths[i]) + "</th>";
    for (const double loss : losses.loss[i]) page += cell(loss, losses.without[i]);
    page += "<td>" + formatted("%.2f", losses.without[i]) + "</td></tr>\n";
  }
  return page + "</table></html>\n";
}

}  // namespace infinipipe
