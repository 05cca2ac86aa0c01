// Numbers and tables in plain text.
#pragma once

#include <string>
#include <vector>

namespace infinipipe {

std::string fixed(double value, int digits);
std::string percent(double share);  // "12.3%"

using TextRows = std::vector<std::vector<std::string>>;

// Two spaces between columns as wide as their widest cell, everything to the right; with
// `text_ends` the first and the last column are words, to the left.
std::string aligned(const TextRows& rows, bool text_ends = false);

// Rows under a head, set in by two spaces; all columns but the last to the right.
class TextTable final {
 public:
  explicit TextTable(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  std::string str() const;

 private:
  TextRows rows_;
};

}  // namespace infinipipe
