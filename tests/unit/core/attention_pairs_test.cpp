// Attention's measure against pairs that are counted one by one.
#include "core/attention_pairs.h"

#include <gtest/gtest.h>

namespace infinipipe {
namespace {

// Twice the (query, key) pairs of the queries [begin, end), less one for each query.
double counted(Tokens begin, Tokens end, Tokens window) {
  double sum = 0.0;
  for (Tokens i = begin; i < end; ++i) {
    for (Tokens j = 0; j <= i; ++j) sum += window == 0 || j > i - window ? 2.0 : 0.0;
    sum -= 1.0;
  }
  return sum;
}

TEST(AttentionPairs, EqualACount) {
  for (const Tokens window : {0, 1, 2, 7, 30, 31, 100}) {
    for (const auto& [begin, end] : {std::pair<Tokens, Tokens>{0, 1},
                                     {0, 30},
                                     {0, 31},
                                     {5, 9},
                                     {6, 7},
                                     {7, 8},
                                     {29, 64},
                                     {40, 41},
                                     {64, 90}}) {
      EXPECT_EQ(attention_token2(begin, end, window), counted(begin, end, window))
          << "[" << begin << ", " << end << "), window " << window;
    }
  }
  EXPECT_EQ(attention_token2(4, 10, 0), 100.0 - 16.0);
}

TEST(AttentionPairs, SlicesReadTheContextThatTheirFirstTokenSees) {
  EXPECT_EQ(attention_context(Tokens{100}, 0), 100);
  EXPECT_EQ(attention_context(Tokens{100}, 30), 29);
  EXPECT_EQ(attention_context(Tokens{10}, 30), 10);
  EXPECT_EQ(attention_context(Tokens{10}, 1), 0);
}

}  // namespace
}  // namespace infinipipe
