#include "core/token_shares.h"

#include <gtest/gtest.h>

namespace infinipipe {
namespace {

TEST(TokenShares, CoverAllTokensAndDifferByOne) {
  for (const Tokens tokens : {0, 1, 2, 7, 100, 262144}) {
    for (int degree = 1; degree <= 9; ++degree) {
      Tokens next = 0;
      for (int rank = 0; rank < degree; ++rank) {
        const TokenRange range = token_share(tokens, rank, degree);
        EXPECT_EQ(range.begin, next);
        next = range.end;
        EXPECT_GE(range.count(), tokens / degree);
        EXPECT_LE(range.count(), (tokens + degree - 1) / degree);
      }
      EXPECT_EQ(next, tokens);
    }
  }
  EXPECT_EQ(token_share(3, 1, 2), (TokenRange{1, 3}));
}

}  // namespace
}  // namespace infinipipe
