// Short names for what layers keep, for tests.
#pragma once

#include <vector>

#include "infinipipe/core/keeping.h"

namespace infinipipe::testing {

// So many layers keep their input alone.
inline Keeping inputs(int layers) { return Keeping::of(Keep::kInput, layers); }
inline std::vector<Keeping> inputs(const std::vector<int>& layers) {
  return keeping_by_stage(Keep::kInput, layers);
}
// `again` layers run again, the first `attention` of which keep their attention.
inline Keeping again(int again, int attention) {
  Keeping keeping = inputs(again - attention);
  keeping[Keep::kAttention] = attention;
  return keeping;
}

}  // namespace infinipipe::testing
