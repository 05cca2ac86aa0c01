#include "dist/cross_memory.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "base/random.h"
#include "unit/dist/ranks.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using Group = c10::intrusive_ptr<c10d::Backend>;
using Work = c10::intrusive_ptr<c10d::Work>;

Work send(const Group& group, int to, const at::Tensor& tensor) {
  std::vector<at::Tensor> tensors = {tensor};
  return group->send(tensors, to, 0);
}
Work post(const Group& group, int from, const at::Tensor& buffer) {
  std::vector<at::Tensor> tensors = {buffer};
  return group->recv(tensors, from, 0);
}

// Each member as a thread of this process.
void on_members(int size, const std::function<void(const Group&)>& body) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  on_ranks(size, [&](int rank) {
    const Group group = cross_memory_groups()(store, rank, size);
    ASSERT_TRUE(group) << "process_vm_writev is not allowed here";
    EXPECT_EQ(group->getSize(), size);
    body(group);
  });
}

std::string problem(const std::function<void()>& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "none";
}

// Message `i` of a direction; a few are empty, and the last is larger than one call may copy at
// once on some systems.
at::Tensor message(int from, int to, int i) {
  Random random(static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(10 * from + to));
  const std::int64_t size = i == 39 ? std::int64_t{1} << 20 : random.between(0, 3000);
  return at::arange(size).remainder(251).add(i + from - to).to(at::kFloat);
}

// Some are posted ahead, others when they have long been sent, and every one arrives in order.
void exchange_with_all(const Group& group) {
  constexpr int kMessages = 40;
  const int own = group->getRank();
  std::vector<Work> sent;
  for (int i = 0; i < kMessages; ++i) {
    for (int other = 0; other < group->getSize(); ++other)
      if (other != own) sent.push_back(send(group, other, message(own, other, i)));
  }
  std::thread reaper([&] {
    for (const Work& work : sent) EXPECT_TRUE(work->wait());
  });
  for (int other = 0; other < group->getSize(); ++other) {
    if (other == own) continue;
    Random random(3, static_cast<std::uint64_t>(other));
    std::vector<at::Tensor> buffers;
    std::vector<Work> posted;
    for (int i = 0; i < kMessages; ++i) {
      const auto ahead = static_cast<std::size_t>(i + random.between(1, 4));
      while (buffers.size() < std::min<std::size_t>(ahead, kMessages)) {
        buffers.push_back(at::full_like(message(other, own, static_cast<int>(buffers.size())), -7));
        posted.push_back(post(group, other, buffers.back()));
      }
      const auto which = static_cast<std::size_t>(i);
      EXPECT_TRUE(posted[which]->wait());
      EXPECT_TRUE(buffers[which].equal(message(other, own, i)))
          << other << " to " << own << ", " << i;
    }
  }
  reaper.join();
}

TEST(CrossMemory, EveryPairOfMembersTalksBothWays) {
  for (const int size : {2, 3}) on_members(size, exchange_with_all);
}

// The same, and a member that is killed while another waits for it.
TEST(CrossMemory, BetweenProcessesAndAKilledOneIsNoticed) {
  at::set_num_threads(1);  // a child has no threads but its own
  const std::string file = ::testing::TempDir() + "cross_memory_" + std::to_string(getpid());
  const pid_t child = ::fork();
  if (child == 0) {
    const auto store = c10::make_intrusive<c10d::FileStore>(file, 2);
    const Group group = cross_memory_groups()(store, 1, 2);
    if (!group) ::_exit(1);
    exchange_with_all(group);
    if (::testing::Test::HasFailure()) ::_exit(1);
    send(group, 0, at::zeros({1}))->wait();
    ::kill(getpid(), SIGKILL);
  }
  const auto store = c10::make_intrusive<c10d::FileStore>(file, 2);
  const Group group = cross_memory_groups()(store, 0, 2);
  ASSERT_TRUE(group);
  exchange_with_all(group);
  const at::Tensor last = at::full({1}, 5.0F);
  const Work arrived = post(group, 1, last);
  const Work never = post(group, 1, at::zeros({1}));
  EXPECT_TRUE(arrived->wait()) << "what was sent before the end";
  EXPECT_EQ(last.item<float>(), 0);
  EXPECT_THAT(problem([&] { never->wait(); }), HasSubstr("its process has ended"));
  EXPECT_THAT(problem([&] { send(group, 1, at::zeros({1}))->wait(); }),
              HasSubstr("its process has ended"));
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the child's messages were wrong";
}

TEST(CrossMemory, AMessageOfAnotherSizeAltersNothing) {
  for (const bool posted_first : {true, false}) {
    std::atomic<bool> second{false};
    on_members(2, [&](const Group& group) {
      const bool receives = group->getRank() == 0;
      while (receives != posted_first && !second) std::this_thread::yield();
      const at::Tensor tensor = at::full({receives ? 4 : 5}, -7.0F);
      EXPECT_THAT(problem([&] {
                    const Work work = receives ? post(group, 1, tensor) : send(group, 0, tensor);
                    second = true;
                    work->wait();
                  }),
                  HasSubstr("a message of 20 bytes, of which the receiver expects 16"));
      second = true;
      EXPECT_TRUE(tensor.equal(at::full_like(tensor, -7.0F)));
    });
  }
}

// What was aborted and let go of is never written to, nor read, though the other end comes later.
TEST(CrossMemory, ATensorThatWasLetGoOfIsNotTouched) {
  for (const bool receives_first : {true, false}) {
    const at::Tensor buffer = at::full({4}, -7.0F);
    std::atomic<bool> second{false};
    on_members(2, [&](const Group& group) {
      const bool receives = group->getRank() == 0;
      const auto begin = [&] {
        return receives ? post(group, 1, buffer) : send(group, 0, at::zeros({4}));
      };
      if (receives == receives_first) {
        Work work = begin();
        std::thread aborter([&] { work->abort(); });
        EXPECT_FALSE(work->wait());
        aborter.join();
        work.reset();
        second = true;
      } else {
        while (!second) std::this_thread::yield();
        EXPECT_THAT(problem([&] { begin()->wait(); }), HasSubstr("has let go"));
      }
    });
    EXPECT_TRUE(buffer.equal(at::full({4}, -7.0F)));
  }
}

TEST(CrossMemory, WhoLeavesIsMissed) {
  on_members(2, [](const Group& group) {
    if (group->getRank() == 1) return;
    EXPECT_THAT(problem([&] { post(group, 1, at::zeros({1}))->wait(); }), HasSubstr("has left"));
    EXPECT_THAT(problem([&] { send(group, 1, at::zeros({1}))->wait(); }), HasSubstr("has left"));
  });
}

TEST(CrossMemory, WhoIsNotOnThisHostIsRefusedByAll) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  // As a rank of another host answers, whose process and file mean something else here.
  c10d::Store& other = *store;
  other.set("inbox/1", std::to_string(getpid()) + " 0 1 0");
  other.set("able/1", std::string("0"));
  EXPECT_FALSE(cross_memory_groups()(store, 0, 2));
  EXPECT_EQ(other.get_to_str("able/0"), "0");
}

}  // namespace
}  // namespace infinipipe
