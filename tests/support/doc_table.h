// A table of a page in docs/, to be compared with the table in the code that it shows.
#pragma once

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"

namespace infinipipe::testing {

using DocRows = std::vector<std::pair<std::string, std::string>>;

// The cells of one line "| a | b |", without blanks around them and without backquotes.
inline std::vector<std::string> doc_cells(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream stream(line.substr(1));
  for (std::string cell; std::getline(stream, cell, '|');) {
    std::erase(cell, '`');
    const std::size_t begin = cell.find_first_not_of(' ');
    const std::size_t end = cell.find_last_not_of(' ');
    cells.push_back(begin == std::string::npos ? "" : cell.substr(begin, end - begin + 1));
  }
  return cells;
}

// First and second cells of the rows of the table whose first heading is `heading`; empty where the
// page has no such table.
inline DocRows doc_table(const std::string& page, const std::string& heading) {
  std::istringstream text(read_file(std::string(INFINIPIPE_TEST_DATA) + "/../../docs/" + page));
  DocRows rows;
  bool inside = false;
  for (std::string line; std::getline(text, line);) {
    const bool row = line.starts_with("|");
    if (!row && inside) break;
    if (!row) continue;
    const std::vector<std::string> cells = doc_cells(line);
    if (!inside) {
      inside = cells.at(0) == heading;
    } else if (!cells.at(0).starts_with("-")) {
      rows.emplace_back(cells.at(0), cells.at(1));
    }
  }
  return rows;
}

// What such a table must hold for a table of the code.
template <class Rows>
DocRows doc_rows(const Rows& rows) {
  DocRows result;
  for (const auto& row : rows) result.emplace_back(row.name, row.line);
  return result;
}

}  // namespace infinipipe::testing
