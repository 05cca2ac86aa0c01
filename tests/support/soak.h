// `make soak` sets INFINIPIPE_SOAK: property tests then run more cases.
#pragma once

#include <cstdlib>

namespace infinipipe::testing {

inline bool soak() { return std::getenv("INFINIPIPE_SOAK") != nullptr; }
// Ten times as many.
inline int scaled(int cases) { return soak() ? 10 * cases : cases; }

}  // namespace infinipipe::testing
