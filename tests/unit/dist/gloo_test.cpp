#include "dist/gloo.h"

#include <ATen/Context.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "dist/nccl.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// The declarations in gloo_headers are right if two ranks can talk.
TEST(Gloo, TwoRanksTalk) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  const auto talk = [&](int rank) {
    const auto group = gloo_groups("127.0.0.1", 60)(store, rank, 2);
    EXPECT_EQ(group->getRank(), rank);
    EXPECT_EQ(group->getSize(), 2);
    std::vector<at::Tensor> mine = {at::full({3, 5}, 10.0 + rank)};
    std::vector<at::Tensor> theirs = {at::zeros({3, 5})};
    const auto sent = group->send(mine, 1 - rank, 0);
    const auto received = group->recv(theirs, 1 - rank, 0);
    EXPECT_TRUE(received->wait());
    EXPECT_TRUE(sent->wait());
    EXPECT_TRUE(theirs[0].equal(at::full({3, 5}, 10.0 + 1 - rank)));
  };
  std::thread other([&] { talk(1); });
  talk(0);
  other.join();
}

// Or it would keep a stage's thread from what both need.
TEST(Gloo, ItsThreadDoesNotInterruptOthersAndTheCallerStaysAsItWas) {
  const auto patient = [] {
    std::ptrdiff_t count = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task"))
      count += sched_getscheduler(std::stoi(task.path().filename())) == SCHED_BATCH;
    return count;
  };
  const std::ptrdiff_t before = patient();
  const GroupFactory groups = gloo_groups("127.0.0.1", 60);
  EXPECT_EQ(patient(), before + 1);
  EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
}

TEST(Gloo, WhoDoesNotComeIsNotWaitedForLonger) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  EXPECT_THROW(gloo_groups("127.0.0.1", 0.1)(store, 0, 2), std::exception);
}

TEST(Nccl, SaysWhatIsMissing) {
  if (at::hasCUDA()) GTEST_SKIP() << "a GPU is there";
  EXPECT_THROW(nccl_groups(), RunError);
}

}  // namespace
}  // namespace infinipipe
