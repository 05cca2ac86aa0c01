#include <gtest/gtest.h>

#include <set>

#include "base/hash.h"
#include "base/random.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/units.h"

namespace infinipipe {
namespace {

TEST(Error, IsOneLineWhateverTheInput) {
  const InputError error("f\nile", "bad", "expected good", "fix it");
  EXPECT_STREQ(error.what(), "f ile: bad, expected good; fix it");
  EXPECT_EQ(error.exit_code(), 2);
  EXPECT_EQ(RunError("x", "y").exit_code(), 1);
  EXPECT_STREQ(RunError("x", "y").what(), "x: y");
}

TEST(Error, AssertionsAreLogicErrors) {
  EXPECT_THROW(INFINIPIPE_ASSERT(1 == 2, "sums"), std::logic_error);
}

TEST(Units, AreReadable) {
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(71.2 * 1024 * 1024 * 1024), "71.2 GiB");
  EXPECT_EQ(format_seconds(0.0412), "41.2 ms");
  EXPECT_EQ(format_count(131072), "131,072");
  EXPECT_EQ(format_count(-1000), "-1,000");
  EXPECT_EQ(format_count(999), "999");
}

TEST(Hash, KnownValueAndPieces) {
  EXPECT_EQ(hash_hex(""), "99aa06d3014798d86001c324468d497f");  // XXH3-128 of nothing
  StreamHash pieces;
  pieces.update("ab", 2);
  pieces.update("c", 1);
  EXPECT_EQ(pieces.hex(), hash_hex("abc"));
}

TEST(Random, IsFixedForever) {
  Random random(1);
  const std::vector<std::uint64_t> first = {random.next(), random.next()};
  Random again(1);
  EXPECT_EQ(again.next(), first[0]);
  EXPECT_NE(Random(1, 1).next(), first[0]);
  // SplitMix64 of seed 0 (published reference values).
  EXPECT_EQ(mix(0), 0xe220a8397b1dcdafULL);
}

TEST(Random, BetweenCoversBothEnds) {
  Random random(7);
  std::set<std::int64_t> seen;
  for (int i = 0; i < 200; ++i) seen.insert(random.between(-2, 2));
  EXPECT_EQ(seen, (std::set<std::int64_t>{-2, -1, 0, 1, 2}));
  random.between(std::numeric_limits<std::int64_t>::min(),
                 std::numeric_limits<std::int64_t>::max());
}

TEST(Random, NormalHasItsMoments) {
  Random random(3);
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < 100000; ++i) {
    const double x = random.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / 1e5, 0.0, 0.02);
  EXPECT_NEAR(squares / 1e5, 1.0, 0.02);
}

TEST(Random, ShuffleIsAPermutation) {
  Random random(5);
  std::vector<int> values = {0, 1, 2, 3, 4, 5, 6, 7};
  random.shuffle(values);
  EXPECT_EQ(std::set<int>(values.begin(), values.end()).size(), 8U);
}

}  // namespace
}  // namespace infinipipe
