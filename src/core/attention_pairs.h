// How much attention tokens cost: the one place that counts which keys a query sees. Costs, bounds,
// cuts, baselines and FLOPs read it here; the running half masks by the same rule
// (src/model/common/attention).
#pragma once

#include <algorithm>

#include "infinipipe/base/units.h"

namespace infinipipe {

// The attention of the first `end` tokens of a sequence, in the measure "token^2": twice the number
// of (query, key) pairs, less one for each query. Token i sees the keys j <= i; with a window > 0
// only those with i - window < j. Without a window, and up to it, that is end^2; beyond it each
// further token adds 2 window - 1.
constexpr double attention_token2(double end, Tokens window) {
  const auto w = static_cast<double>(window);
  if (window <= 0 || end <= w) return end * end;
  return w * w + (2.0 * w - 1.0) * (end - w);
}

// Of a slice [begin, end): without a window (C+s)^2 - C^2 for s tokens with context C.
constexpr double attention_token2(Tokens begin, Tokens end, Tokens window) {
  return attention_token2(static_cast<double>(end), window) -
         attention_token2(static_cast<double>(begin), window);
}

// Tokens before `begin` that a slice which begins there reads.
template <class Count>
constexpr Count attention_context(Count begin, Tokens window) {
  return window > 0 ? std::min(begin, static_cast<Count>(window - 1)) : begin;
}

}  // namespace infinipipe
