#include "core/head_shares.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// Query heads of every device, dealt one by one as the rule says; empty where it cannot be done.
std::vector<std::int64_t> dealt(const HeadCounts& heads, int degree) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(degree), 0);
  const std::int64_t group = heads.query / heads.key_value;
  if (degree <= heads.key_value) {
    for (int s = 0; s < degree; ++s) {
      const std::int64_t begin = heads.key_value * s / degree;
      const std::int64_t end = heads.key_value * (s + 1) / degree;
      counts[static_cast<std::size_t>(s)] = (end - begin) * group;
    }
    return counts;
  }
  if (degree % heads.key_value != 0) return {};
  const std::int64_t sharers = degree / heads.key_value;
  for (int s = 0; s < degree; ++s) {
    const std::int64_t t = s % sharers;
    counts[static_cast<std::size_t>(s)] = group * (t + 1) / sharers - group * t / sharers;
  }
  if (*std::min_element(counts.begin(), counts.end()) == 0) return {};
  return counts;
}

TEST(HeadShares, AreThoseOfDealingOneByOne) {
  int refused = 0;
  int uneven = 0;
  for (const std::int64_t key_value : {1, 2, 3, 4, 8, 13, 40, 52}) {
    for (const std::int64_t group : {1, 2, 3, 4, 8}) {
      const HeadCounts heads{key_value * group, key_value};
      for (int degree = 1; degree <= 130; ++degree) {
        const std::vector<std::int64_t> counts = dealt(heads, degree);
        ASSERT_EQ(heads_allow(heads, degree), !counts.empty())
            << heads.query << " " << key_value << " over " << degree;
        EXPECT_EQ(heads_refusal(heads, degree).empty(), !counts.empty());
        if (counts.empty()) {
          ++refused;
          EXPECT_EQ(head_imbalance(heads, degree), 1.0);
          EXPECT_THROW(require_heads(heads, degree), InputError);
          continue;
        }
        ASSERT_EQ(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}), heads.query);
        std::int64_t next = 0;
        for (int rank = 0; rank < degree; ++rank) {
          const HeadShare share = head_share(heads, rank, degree);
          ASSERT_EQ(share.query, counts[static_cast<std::size_t>(rank)]);
          ASSERT_EQ(share.query_begin, next);
          next += share.query;
          // Its query heads are all served by its heads of keys and values.
          ASSERT_EQ(share.query_begin / group, share.key_value_begin);
          ASSERT_EQ((next - 1) / group, share.key_value_begin + share.key_value - 1);
        }
        const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
        EXPECT_DOUBLE_EQ(head_imbalance(heads, degree),
                         static_cast<double>(*most) * degree / static_cast<double>(heads.query));
        EXPECT_EQ(uneven_heads(heads, degree).empty(), *least == *most);
        uneven += *least == *most ? 0 : 1;
        EXPECT_NO_THROW(require_heads(heads, degree));
      }
    }
  }
  EXPECT_GT(refused, 100);
  EXPECT_GT(uneven, 100);
}

TEST(HeadShares, SaysWhatIsUnevenAndWhatWorks) {
  EXPECT_DOUBLE_EQ(head_imbalance({52, 52}, 8), 7.0 / 6.5);
  EXPECT_EQ(uneven_heads({52, 52}, 8), "heads uneven: 7 or 6 a device");
  EXPECT_EQ(uneven_heads({40, 40}, 8), "");
  EXPECT_EQ(heads_refusal({4, 4}, 8), "8 devices cannot share 4 attention heads");
  EXPECT_EQ(heads_refusal({32, 8}, 12),
            "12 devices cannot share 32 attention heads with 8 of keys and values");
  try {
    require_heads({32, 8}, 64);
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_STREQ(
        error.what(),
        "parallelism.sequence_parallel: 64 devices cannot share 32 attention heads with 8 "
        "of keys and values, expected one of 1 to 8, 16, 24, 32; choose another degree, or "
        "say how many heads the model has");
  }
}

TEST(HeadShares, UnknownHeadsRefuseNothing) {
  for (const int degree : {1, 3, 1024}) {
    EXPECT_TRUE(heads_allow({}, degree));
    EXPECT_EQ(head_imbalance({}, degree), 1.0);
    EXPECT_EQ(heads_refusal({}, degree), "");
    EXPECT_EQ(uneven_heads({}, degree), "");
  }
}

}  // namespace
}  // namespace infinipipe
