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
  for (const std::string& name : split_names(list)) {
    set.disable(named(kPasses, name, where).value);
  }
  return set;
}

}  // namespace infinipipe
