#include "infinipipe/core/passes.h"

#include "core/names.h"

namespace infinipipe {

std::string PassSet::disabled_names() const {
  std::vector<std::string> names;
  for (const PassRow& row : kPasses) {
    if (!has(row.value)) names.emplace_back(row.name);
  }
  return listed(names, ",", ",");
}

PassSet PassSet::without_named(std::string_view list, std::string_view where) {
  PassSet set;
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::string_view name = list.substr(0, comma);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    set.disable(named(kPasses, name, where).value);
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  }
  return set;
}

}  // namespace infinipipe
