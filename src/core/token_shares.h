// How the ranks of a sequence-parallel group share the tokens of a chunk.
#pragma once

#include "infinipipe/base/units.h"

namespace infinipipe {

// Tokens [begin, end) of a chunk, as they stand in it.
struct TokenRange {
  Tokens begin = 0;
  Tokens end = 0;

  Tokens count() const { return end - begin; }
  bool operator==(const TokenRange&) const = default;
};

// Those of rank `rank` of `degree`: uneven by one at most, none where there are fewer tokens than
// ranks.
inline TokenRange token_share(Tokens tokens, int rank, int degree) {
  return {tokens * rank / degree, tokens * (rank + 1) / degree};
}

}  // namespace infinipipe
