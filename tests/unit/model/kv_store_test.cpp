// Blocks come and go in the order of a cut sequence's slices, each layer and sequence for itself.
#include "model/kv_store.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "model_testing.h"

namespace infinipipe {
namespace {

using testing::random_tensor;

void append(KvStore& store, int sequence, int layer, Tokens begin, Tokens end) {
  store.append(SequenceId(sequence), layer, begin, random_tensor({end - begin, 4}, 1),
               random_tensor({end - begin, 4}, 2));
}

TEST(KvStoreTest, GivesTheBlocksBeforeASlice) {
  KvStore store;
  EXPECT_TRUE(store.before(SequenceId(0), 0, 0).empty());
  append(store, 0, 0, 0, 10);
  append(store, 0, 0, 10, 25);
  append(store, 0, 1, 0, 10);
  append(store, 3, 0, 0, 7);
  EXPECT_EQ(store.before(SequenceId(0), 0, 10).size(), 1U);
  const auto both = store.before(SequenceId(0), 0, 25);
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[1].begin, 10);
  EXPECT_EQ(both[1].end, 25);
  EXPECT_EQ(store.before(SequenceId(3), 0, 7).size(), 1U);
  EXPECT_EQ(store.kv_bytes(), (25 + 10 + 7) * 2 * 4 * 8);
  EXPECT_EQ(store.grad_bytes(), 0);
  both[0].key_grad = random_tensor({10, 4}, 3);
  EXPECT_EQ(store.grad_bytes(), 10 * 4 * 8);
}

TEST(KvStoreTest, IsTakenFromTheNewestOn) {
  KvStore store;
  append(store, 0, 0, 0, 10);
  append(store, 0, 0, 10, 25);
  EXPECT_THROW(store.take(SequenceId(0), 0, 0), std::logic_error);
  EXPECT_EQ(store.take(SequenceId(0), 0, 10).end, 25);
  EXPECT_FALSE(store.empty());
  EXPECT_EQ(store.take(SequenceId(0), 0, 0).end, 10);
  EXPECT_TRUE(store.empty());
  EXPECT_THROW(store.take(SequenceId(0), 0, 0), std::logic_error);
}

TEST(KvStoreTest, RefusesGapsAndMissingContext) {
  KvStore store;
  EXPECT_THROW(append(store, 0, 0, 5, 10), std::logic_error);
  append(store, 1, 0, 0, 10);
  EXPECT_THROW(append(store, 1, 0, 11, 12), std::logic_error);
  EXPECT_THROW(append(store, 1, 0, 0, 12), std::logic_error);
  EXPECT_THROW(store.before(SequenceId(1), 0, 12), std::logic_error);
  EXPECT_THROW(store.before(SequenceId(1), 0, 5), std::logic_error);
  EXPECT_THROW(store.before(SequenceId(1), 1, 10), std::logic_error);
}

TEST(KvStoreTest, DropsOneSequenceOfALayerOrAll) {
  KvStore store;
  for (const int layer : {0, 1}) append(store, 0, layer, 0, 10);
  append(store, 1, 0, 0, 10);
  store.drop(SequenceId(0), 0);
  EXPECT_EQ(store.kv_bytes(), 2 * 10 * 2 * 4 * 8);
  store.drop(SequenceId(0), 0);  // nothing left to drop
  store.clear();
  EXPECT_TRUE(store.empty());
}

}  // namespace
}  // namespace infinipipe
