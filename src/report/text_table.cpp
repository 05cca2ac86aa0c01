#include "report/text_table.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace infinipipe {
namespace {

std::vector<std::size_t> column_widths(const TextRows& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  return widths;
}

}  // namespace

std::string fixed(double value, int digits) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%.*f", digits, value);
  return buffer.data();
}

std::string percent(double share) {
  const std::string text = fixed(100.0 * share, 1) + "%";
  return text == "-0.0%" ? "0.0%" : text;  // what rounding leaves of a bubble of none
}

std::string aligned(const TextRows& rows, bool text_ends) {
  const std::vector<std::size_t> widths = column_widths(rows);
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string padding(widths[c] - row[c].size(), ' ');
      const bool last = c + 1 == row.size();
      if (c > 0) text += "  ";
      if (text_ends && (c == 0 || last)) {
        text += last ? row[c] : row[c] + padding;
      } else {
        text += padding + row[c];
      }
    }
    text += '\n';
  }
  return text;
}

std::string TextTable::str() const {
  const std::vector<std::size_t> widths = column_widths(rows_);
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string padding(widths[c] - row[c].size(), ' ');
      line += "  " + (c + 1 == row.size() ? row[c] : padding + row[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

}  // namespace infinipipe
