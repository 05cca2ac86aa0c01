#include "model/common/kv_store.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "unit/model/model_testing.h"

namespace infinipipe {
namespace {

at::Tensor rows(std::int64_t count) { return at::zeros({count, 4}); }

TEST(KvStore, KeepsBlocksInOrder) {
  KvStore store;
  const SequenceId a(0), b(3);
  store.append(a, 0, 0, rows(5), rows(5));
  store.append(a, 0, 5, rows(2), rows(2));
  store.append(a, 1, 0, rows(5), rows(5));
  store.append(b, 0, 0, rows(9), rows(9));
  EXPECT_EQ(store.kv_bytes(), (5 + 2 + 5 + 9) * 4 * 4 * 2);
  EXPECT_TRUE(store.before(a, 0, 0).empty());
  EXPECT_EQ(store.before(a, 0, 5).size(), 1U);
  const auto both = store.before(a, 0, 7);
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[1].begin, 5);
  EXPECT_EQ(both[1].end, 7);
  EXPECT_EQ(store.grad_bytes(), 0);
  both[0].key_grad = rows(5);
  EXPECT_EQ(store.grad_bytes(), 5 * 4 * 4);

  EXPECT_EQ(store.take(a, 0, 5).end, 7);
  const KvBlock first = store.take(a, 0, 0);
  EXPECT_TRUE(first.key_grad.defined());
  EXPECT_FALSE(store.empty());
  store.drop(a, 1);
  store.drop(a, 1);  // nothing there
  store.clear();
  EXPECT_TRUE(store.empty());
}

// The token at 12 sees itself and window - 1 before it.
TEST(KvStore, LeavesOutBlocksThatTheWindowHides) {
  KvStore store;
  const SequenceId id(0);
  for (const Tokens begin : {0, 4, 8}) store.append(id, 0, begin, rows(4), rows(4));
  const auto first_seen = [&](Tokens window) { return store.before(id, 0, 12, window)[0].begin; };
  EXPECT_EQ(first_seen(0), 0);
  EXPECT_EQ(first_seen(10), 0);
  EXPECT_EQ(first_seen(9), 4);
  EXPECT_EQ(first_seen(6), 4);
  EXPECT_EQ(first_seen(5), 8);
  EXPECT_EQ(first_seen(2), 8);
  EXPECT_TRUE(store.before(id, 0, 12, 1).empty());
}

TEST(KvStore, CatchesOrderMistakes) {
  KvStore store;
  const SequenceId id(1);
  EXPECT_THROW(store.before(id, 0, 3), std::logic_error);
  EXPECT_THROW(store.take(id, 0, 0), std::logic_error);
  store.append(id, 0, 0, rows(5), rows(5));
  EXPECT_THROW(store.append(id, 0, 4, rows(2), rows(2)), std::logic_error);
  EXPECT_THROW(store.before(id, 0, 3), std::logic_error);
  EXPECT_THROW(store.before(id, 0, 6), std::logic_error);
  store.append(id, 0, 5, rows(2), rows(2));
  EXPECT_THROW(store.take(id, 0, 0), std::logic_error);
}

}  // namespace
}  // namespace infinipipe
