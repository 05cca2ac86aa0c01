// Tables of named things: planners, schedules, systems, dtypes, devices. A table is a range of rows
// with a member `name`; each stands in one place, and everything else asks it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace infinipipe {

// The known word that is nearest to `word` by edit distance; empty if none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

// "a, b or c"; empty for no names.
std::string listed(const std::vector<std::string>& names, std::string_view last = " or ",
                   std::string_view between = ", ");

// The names of "a, b,c", without spaces around them; empty ones are left out.
std::vector<std::string> split_names(std::string_view list);

// Throws InputError(where, found, "expected a, b or c", "did you mean b?"); the question only where
// a known name is near to `word`.
[[noreturn]] void refuse_name(std::string_view where, const std::string& found,
                              std::string_view word, const std::vector<std::string>& known);

// In the table's order.
template <class Rows>
std::vector<std::string> names_of(const Rows& rows) {
  std::vector<std::string> names;
  for (const auto& row : rows) names.emplace_back(row.name);
  return names;
}

// The row of that name; null where there is none. The table must outlive the result.
template <class Rows>
auto find_named(const Rows& rows, std::string_view name) -> decltype(&*std::begin(rows)) {
  for (const auto& row : rows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

// The same; a name that is none is refuse_name's error: `found` goes before it in quotes.
template <class Rows>
const auto& named(const Rows& rows, std::string_view name, std::string_view where,
                  std::string_view found = "found") {
  if (const auto* row = find_named(rows, name)) return *row;
  refuse_name(where, std::string(found) + " '" + std::string(name.substr(0, 60)) + "'", name,
              names_of(rows));
}

}  // namespace infinipipe
