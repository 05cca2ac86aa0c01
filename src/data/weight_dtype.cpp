#include "data/weight_dtype.h"

#include <vector>

#include "core/names.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

std::size_t require_weight_dtype(std::string_view stored, const std::string& where) {
  std::vector<std::string> known;
  for (std::size_t i = 0; i < kWeightDtypes.size(); ++i) {
    if (kWeightDtypes[i].stored == stored) return i;
    known.emplace_back(kWeightDtypes[i].stored);
  }
  throw InputError(where, "found dtype " + std::string(stored), "expected " + listed(known));
}

}  // namespace infinipipe
