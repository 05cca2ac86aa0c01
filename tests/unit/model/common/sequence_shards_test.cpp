// Against slices of whole tensors: every rank knows all of them, and what it must get.
#include "model/common/sequence_shards.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "comm/thread_communicator.h"
#include "unit/model/model_testing.h"

namespace infinipipe {
namespace {

using testing::random_tensor;

struct Shape {
  std::int64_t query, key_value;
  int degree;
  Tokens tokens;
};
const std::vector<Shape> kShapes = {{4, 2, 2, 10}, {4, 4, 3, 11}, {6, 2, 2, 7}, {6, 1, 4, 9},
                                    {6, 2, 4, 5},  {7, 7, 4, 3},  {4, 1, 4, 2}, {2, 1, 1, 6}};
constexpr std::int64_t kDim = 4;

// Calls body(shards, rank) on every rank's own thread.
void on_ranks(const Shape& shape,
              const std::function<void(const SequenceShards&, int rank)>& body) {
  auto endpoints = make_thread_communicators<at::Tensor>({1, 1, shape.degree});
  std::vector<std::thread> threads;
  for (int rank = 0; rank < shape.degree; ++rank) {
    threads.emplace_back([&, rank] {
      const kernels::Heads heads{shape.query, shape.key_value, kDim, 17};
      Group<at::Tensor>& group = endpoints[static_cast<std::size_t>(rank)]->shards(shape.degree);
      std::int64_t given = 0;
      body(SequenceShards(heads, group, shape.tokens, &given), rank);
      EXPECT_GT(given, 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

at::Tensor rows(const at::Tensor& x, const TokenRange& range) {
  return x.narrow(0, range.begin, range.count());
}
at::Tensor columns(const at::Tensor& x, std::int64_t first, std::int64_t heads) {
  return x.narrow(1, first * kDim, heads * kDim);
}

TEST(SequenceShards, GoToHeadsAndBack) {
  for (const Shape& shape : kShapes) {
    const at::Tensor query = random_tensor({shape.tokens, shape.query * kDim}, 1);
    const at::Tensor key = random_tensor({shape.tokens, shape.key_value * kDim}, 2);
    const at::Tensor value = random_tensor({shape.tokens, shape.key_value * kDim}, 3);
    on_ranks(shape, [&](const SequenceShards& shards, int rank) {
      const HeadShare share = head_share({shape.query, shape.key_value}, rank, shape.degree);
      const TokenRange own = shards.tokens();
      EXPECT_EQ(own, token_share(shape.tokens, rank, shape.degree));
      EXPECT_EQ(shards.heads().query, share.query);
      EXPECT_EQ(shards.heads().key_value, share.key_value);
      EXPECT_EQ(shards.heads().window, 17);
      const kernels::QueryKeyValue heads =
          shards.to_heads({rows(query, own), rows(key, own), rows(value, own)});
      const at::Tensor my_queries = columns(query, share.query_begin, share.query);
      EXPECT_TRUE(at::equal(heads.query, my_queries));
      EXPECT_TRUE(at::equal(heads.key, columns(key, share.key_value_begin, share.key_value)));
      EXPECT_TRUE(at::equal(heads.value, columns(value, share.key_value_begin, share.key_value)));
      for (const at::Tensor* each : {&heads.query, &heads.key, &heads.value})
        EXPECT_TRUE(each->is_contiguous());
      EXPECT_TRUE(at::equal(shards.to_heads(rows(query, own)), my_queries));
      EXPECT_TRUE(at::equal(shards.to_tokens(my_queries.contiguous()), rows(query, own)));
    });
  }
}

// Each rank gives numbers of its own for a head of keys that it shares with others: rank r's are
// (r + 1) times the whole's.
TEST(SequenceShards, AddUpGradientsOfHeadsThatSeveralHave) {
  for (const Shape& shape : kShapes) {
    const at::Tensor query = random_tensor({shape.tokens, shape.query * kDim}, 1);
    const at::Tensor key = random_tensor({shape.tokens, shape.key_value * kDim}, 2);
    std::vector<double> times(static_cast<std::size_t>(shape.key_value), 0.0);
    for (int rank = 0; rank < shape.degree; ++rank) {
      const HeadShare share = head_share({shape.query, shape.key_value}, rank, shape.degree);
      for (std::int64_t i = 0; i < share.key_value; ++i)
        times[static_cast<std::size_t>(share.key_value_begin + i)] += rank + 1;
    }
    on_ranks(shape, [&](const SequenceShards& shards, int rank) {
      const HeadShare share = head_share({shape.query, shape.key_value}, rank, shape.degree);
      const at::Tensor my_keys =
          columns(key, share.key_value_begin, share.key_value) * static_cast<double>(rank + 1);
      const kernels::QueryKeyValue grad = shards.to_tokens(
          {columns(query, share.query_begin, share.query), my_keys, 2.0 * my_keys}, at::kFloat);
      const TokenRange own = shards.tokens();
      EXPECT_EQ(grad.key.scalar_type(), at::kFloat);
      EXPECT_TRUE(at::equal(grad.query, rows(query, own).to(at::kFloat)));
      for (std::int64_t head = 0; head < shape.key_value; ++head) {
        const at::Tensor expected =
            columns(rows(key, own), head, 1) * times[static_cast<std::size_t>(head)];
        const at::Tensor found = columns(grad.key, head, 1).to(at::kDouble);
        EXPECT_TRUE(at::allclose(found, expected, 1e-5, 1e-6));
        EXPECT_TRUE(
            at::allclose(columns(grad.value, head, 1).to(at::kDouble), 2.0 * expected, 1e-5, 1e-6));
      }
    });
  }
}

}  // namespace
}  // namespace infinipipe
