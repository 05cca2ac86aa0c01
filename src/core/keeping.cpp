#include "infinipipe/core/keeping.h"

#include "core/names.h"

namespace infinipipe {

std::optional<Keep> remade_level(std::string_view name) {
  for (std::size_t i = 0; i < kRemadeLevels; ++i) {
    if (name == kKeepLevels[i].name) return kKeepLevels[i].keep;
  }
  return std::nullopt;
}

std::vector<Keeping> keeping_by_stage(Keep level, const std::vector<int>& counts) {
  std::vector<Keeping> result;
  result.reserve(counts.size());
  for (const int count : counts) result.push_back(Keeping::of(level, count));
  return result;
}

std::string remade_level_names() {
  std::vector<std::string> names = {"auto"};
  for (std::size_t i = 0; i < kRemadeLevels; ++i) names.emplace_back(kKeepLevels[i].name);
  return listed(names);
}

}  // namespace infinipipe
