#include "runtime/allocator.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/random.h"
#include "runtime/block_pool.h"

namespace infinipipe {
namespace {

at::Tensor bytes(std::int64_t count) { return at::empty({count}, at::dtype(at::kByte)); }

class Allocator : public ::testing::Test {
 protected:
  void SetUp() override {
    memory::install();
    memory::set_pooled(true);
    memory::trim();
    meter_ = &memory::acquire_meter();
  }
  void TearDown() override {
    memory::release_meter(*meter_);
    memory::set_pooled(true);
  }
  MemoryMeter& meter() { return *meter_; }

 private:
  MemoryMeter* meter_ = nullptr;
};

TEST_F(Allocator, IsInstalledOnce) {
  memory::install();
  EXPECT_TRUE(memory::installed());
}

TEST_F(Allocator, CountsByPurposeAndForgetsWhatIsFreed) {
  at::Tensor weight, activation;
  {
    const MemoryScope scope(meter(), MemoryPurpose::kWeights);
    weight = bytes(5000);
    {
      const MemoryScope inner(meter(), MemoryPurpose::kActivations);
      activation = bytes(70);
    }
    weight = at::cat({weight, bytes(100)});  // the outer scope holds again
  }
  EXPECT_EQ(meter().live(MemoryPurpose::kWeights), 5100);
  EXPECT_EQ(meter().live(MemoryPurpose::kActivations), 70);
  EXPECT_EQ(meter().live(), 5170);
  weight.reset();
  EXPECT_EQ(meter().live(), 70);
  activation.reset();
  EXPECT_EQ(meter().live(), 0);
}

TEST_F(Allocator, KeepsPeakAndLargest) {
  const MemoryScope scope(meter(), MemoryPurpose::kActivations);
  const at::Tensor kept = bytes(1000);
  { const at::Tensor gone = bytes(1 << 20); }
  EXPECT_EQ(meter().live(), 1000);
  EXPECT_EQ(meter().peak(), 1000 + (1 << 20));
  EXPECT_EQ(meter().largest(), 1 << 20);
  EXPECT_EQ(meter().reset_peak(), 1000 + (1 << 20));
  meter().reset_largest();
  EXPECT_EQ(meter().peak(), 1000);
  EXPECT_EQ(meter().largest(), 0);
  const at::Tensor more = bytes(10);
  EXPECT_EQ(meter().peak(), 1010);
  EXPECT_EQ(meter().largest(), 10);
}

TEST_F(Allocator, AssignMovesWholeStorages) {
  MemoryMeter& other = memory::acquire_meter();
  at::Tensor tensor;
  {
    const MemoryScope scope(meter(), MemoryPurpose::kActivations);
    tensor = bytes(8192);
  }
  memory::assign(tensor.narrow(0, 10, 5), other, MemoryPurpose::kTransfers);
  EXPECT_EQ(meter().live(), 0);
  EXPECT_EQ(other.live(MemoryPurpose::kTransfers), 8192);
  memory::assign(tensor, other, MemoryPurpose::kActivations);
  EXPECT_EQ(other.live(MemoryPurpose::kTransfers), 0);
  EXPECT_EQ(other.live(MemoryPurpose::kActivations), 8192);
  tensor.reset();
  EXPECT_EQ(other.live(), 0);
  memory::release_meter(other);
}

TEST_F(Allocator, AssignLeavesForeignStoragesAlone) {
  std::vector<float> data(100);
  memory::assign(at::Tensor(), meter(), MemoryPurpose::kWeights);
  memory::assign(at::from_blob(data.data(), {100}, at::dtype(at::kFloat)), meter(),
                 MemoryPurpose::kWeights);
  memory::assign(bytes(0), meter(), MemoryPurpose::kWeights);
  EXPECT_EQ(meter().live(), 0);
}

TEST_F(Allocator, WithoutScopeBytesAreUnowned) {
  const std::int64_t before = memory::unowned_meter().live();
  const at::Tensor tensor = bytes(12345);
  EXPECT_EQ(memory::unowned_meter().live(), before + 12345);
  EXPECT_EQ(meter().live(), 0);
}

TEST_F(Allocator, ReleasedMetersComeBackEmptyOnly) {
  MemoryMeter& held = memory::acquire_meter();
  at::Tensor tensor;
  {
    const MemoryScope scope(held, MemoryPurpose::kActivations);
    tensor = bytes(100);
  }
  memory::release_meter(held);
  MemoryMeter& next = memory::acquire_meter();
  EXPECT_NE(&next, &held);  // its tensor still lives
  EXPECT_EQ(next.live(), 0);
  EXPECT_EQ(next.peak(), 0);
  memory::release_meter(next);
}

TEST_F(Allocator, PoolHandsTheSameBlockOutAgain) {
  at::Tensor tensor = bytes(1 << 20);
  const void* data = tensor.data_ptr();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(data) % 64, 0U);
  tensor.reset();
  EXPECT_GE(memory::pooled_bytes(), 1 << 20);
  tensor = bytes((1 << 20) - 5000);  // another length, the same class
  EXPECT_EQ(tensor.data_ptr(), data);
  EXPECT_EQ(memory::pooled_bytes(), 0);
}

TEST_F(Allocator, PlainFreesAtOnceAndOutlivesASwitch) {
  at::Tensor pooled = bytes(1 << 20);
  memory::set_pooled(false);
  EXPECT_FALSE(memory::pooled());
  at::Tensor plain = bytes(1 << 20);
  plain.reset();
  EXPECT_EQ(memory::pooled_bytes(), 0);
  pooled.reset();  // made pooled: goes back to the pool
  EXPECT_GE(memory::pooled_bytes(), 1 << 20);
}

TEST_F(Allocator, TrimKeepsWhatIsAskedFor) {
  {
    std::vector<at::Tensor> tensors;
    for (int i = 0; i < 8; ++i) tensors.push_back(bytes(1 << 20));
  }
  const std::int64_t all = memory::pooled_bytes();
  EXPECT_GE(all, 8 << 20);
  memory::trim(3 << 20);
  EXPECT_LE(memory::pooled_bytes(), 3 << 20);
  EXPECT_GT(memory::pooled_bytes(), 0);
  memory::trim();
  EXPECT_EQ(memory::pooled_bytes(), 0);
}

TEST_F(Allocator, CountsExactlyAcrossThreads) {
  // Each thread frees tensors that its neighbour made.
  constexpr int kThreads = 4;
  std::vector<std::vector<at::Tensor>> made(kThreads);
  const auto on_threads = [](const auto& body) {
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) threads.emplace_back([&body, t] { body(t); });
    for (std::thread& thread : threads) thread.join();
  };
  std::atomic<std::int64_t> expected{0};
  for (int round = 0; round < 5; ++round) {
    on_threads([&](int t) {
      const MemoryScope scope(meter(), MemoryPurpose::kActivations);
      Random random(7, static_cast<std::uint64_t>(t + kThreads * round));
      for (int i = 0; i < 200; ++i) {
        const std::int64_t size = random.between(1, 20000);
        made[static_cast<std::size_t>(t)].push_back(bytes(size));
        expected += size;
      }
    });
    EXPECT_EQ(meter().live(), expected.load());
    on_threads([&](int t) {
      auto& tensors = made[static_cast<std::size_t>((t + 1) % kThreads)];
      std::int64_t freed = 0;
      for (std::size_t i = 0; i < tensors.size(); i += 2) {
        freed += tensors[i].numel();
        tensors[i].reset();
      }
      std::erase_if(tensors, [](const at::Tensor& x) { return !x.defined(); });
      expected -= freed;
    });
    EXPECT_EQ(meter().live(), expected.load());
  }
  made.clear();
  EXPECT_EQ(meter().live(), 0);
  EXPECT_EQ(meter().live(MemoryPurpose::kActivations), 0);
}

TEST(BlockPool, ClassesHoldWhatTheyPromise) {
  Random random(3);
  std::size_t last = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto bytes = static_cast<std::size_t>(1) << random.between(0, 34);
    const std::size_t request = bytes + static_cast<std::size_t>(random.next() % bytes);
    const std::size_t size_class = BlockPool::class_of(request);
    EXPECT_GE(BlockPool::class_bytes(size_class), request);
    if (size_class > 0) {
      EXPECT_LT(BlockPool::class_bytes(size_class - 1), request);
    }
  }
  for (std::size_t c = 0; c < 100; ++c) {
    EXPECT_GT(BlockPool::class_bytes(c), last);
    last = BlockPool::class_bytes(c);
    EXPECT_EQ(BlockPool::class_of(last), c);
    EXPECT_EQ(BlockPool::class_of(last + 1), c + 1);
  }
}

TEST(BlockPool, TakesAtMostTwiceTheSize) {
  BlockPool pool;
  const BlockPool::Block big = pool.take(1 << 20);
  pool.give(big);
  const BlockPool::Block small = pool.take(1 << 18);  // a quarter: a new block
  EXPECT_NE(small.data, big.data);
  const BlockPool::Block half = pool.take((1 << 19) + 1);
  EXPECT_EQ(half.data, big.data);
  EXPECT_EQ(half.size_class, big.size_class);
  pool.give(small);
  pool.give(half);
}

TEST(BlockPool, RefusesTheImpossible) {
  BlockPool pool;
  EXPECT_THROW(pool.take(~std::size_t{0} / 2), std::bad_alloc);
}

}  // namespace
}  // namespace infinipipe
