#include "runtime/shards.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "comm/checked_communicator.h"
#include "comm/thread_communicator.h"

namespace infinipipe {
namespace {

using Endpoints = std::vector<std::unique_ptr<Communicator<at::Tensor>>>;

Endpoints replicas(int size) {
  Endpoints endpoints;
  for (auto& inner : make_thread_communicators<CheckedMessage<at::Tensor>>({1, size}))
    endpoints.push_back(std::make_unique<CheckedCommunicator<at::Tensor>>(std::move(inner)));
  return endpoints;
}

// One thread a member.
void on_all(int size, const std::function<void(TensorGroup&)>& body) {
  Endpoints endpoints = replicas(size);
  std::vector<std::thread> threads;
  for (auto& endpoint : endpoints) threads.emplace_back([&] { body(endpoint->copies()); });
  for (std::thread& thread : threads) thread.join();
}

std::vector<at::Tensor> random_tensors(int size, at::IntArrayRef shape) {
  at::manual_seed(7);
  std::vector<at::Tensor> all;
  for (int i = 0; i < size; ++i) all.push_back(at::randn(shape, at::kFloat));
  return all;
}

std::vector<at::Tensor> clones(const std::vector<at::Tensor>& tensors) {
  std::vector<at::Tensor> copies;
  for (const at::Tensor& tensor : tensors) copies.push_back(tensor.clone());
  return copies;
}

// Fewer elements than members, uneven ones, and so many that they go in several pieces.
const std::vector<std::vector<std::int64_t>> kShapes = {{1}, {3}, {7, 5}, {3, (1 << 20) + 1}};

TEST(Shards, CoverATensorOnce) {
  for (const std::int64_t count : {0, 1, 5, 64}) {
    for (int size = 1; size <= 5; ++size) {
      std::int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const FlatRange range = owned_range(count, rank, size);
        EXPECT_EQ(range.begin, next);
        EXPECT_LE(range.count(), (count + size - 1) / size);
        next = range.end;
      }
      EXPECT_EQ(next, count);
    }
  }
}

TEST(Shards, SumsAreInMemberOrderToTheBit) {
  for (const auto& shape : kShapes) {
    for (int size = 1; size <= 4; ++size) {
      const std::vector<at::Tensor> before = random_tensors(size, shape);
      at::Tensor expected = before[0].clone();
      for (int i = 1; i < size; ++i) expected.add_(before[static_cast<std::size_t>(i)]);
      const std::vector<at::Tensor> tensors = clones(before);
      on_all(size, [&](TensorGroup& group) {
        sum_to_owners(group, tensors[static_cast<std::size_t>(group.rank())]);
      });
      for (int i = 0; i < size; ++i) {
        const at::Tensor& mine = tensors[static_cast<std::size_t>(i)];
        EXPECT_TRUE(at::equal(owned_part(mine, i, size), owned_part(expected, i, size)));
        for (int other = 0; other < size; ++other) {  // what others own is as it was
          if (other == i) continue;
          EXPECT_TRUE(at::equal(owned_part(mine, other, size),
                                owned_part(before[static_cast<std::size_t>(i)], other, size)));
        }
      }
    }
  }
}

TEST(Shards, EveryMemberGetsTheOwnersValues) {
  for (const auto& shape : kShapes) {
    for (int size = 1; size <= 4; ++size) {
      const std::vector<at::Tensor> before = random_tensors(size, shape);
      const std::vector<at::Tensor> shared = clones(before);
      const std::vector<at::Tensor> copied = clones(before);
      on_all(size, [&](TensorGroup& group) {
        share_owned(group, shared[static_cast<std::size_t>(group.rank())]);
        copy_from_first(group, copied[static_cast<std::size_t>(group.rank())]);
      });
      for (int i = 0; i < size; ++i) {
        for (int owner = 0; owner < size; ++owner) {
          EXPECT_TRUE(at::equal(owned_part(shared[static_cast<std::size_t>(i)], owner, size),
                                owned_part(before[static_cast<std::size_t>(owner)], owner, size)));
        }
        EXPECT_TRUE(at::equal(copied[static_cast<std::size_t>(i)], before[0]));
      }
    }
  }
}

TEST(Shards, GatherAndScatterAreOpposites) {
  for (const auto& shape : kShapes) {
    for (int size = 1; size <= 4; ++size) {
      const at::Tensor whole = random_tensors(1, shape)[0];
      on_all(size, [&](TensorGroup& group) {
        const std::int64_t count = whole.numel();
        const at::Tensor own = at::zeros_like(owned_part(whole, group.rank(), size));
        scatter_from_first(group, group.rank() == 0 ? whole : at::Tensor(), own, count);
        EXPECT_TRUE(at::equal(own, owned_part(whole, group.rank(), size)));
        const at::Tensor again = gather_to_first(group, own, count);
        EXPECT_EQ(again.defined(), group.rank() == 0);
        EXPECT_TRUE(!again.defined() || at::equal(again, whole.view({-1})));
      });
    }
  }
}

}  // namespace
}  // namespace infinipipe
