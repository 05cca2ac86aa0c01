#include "cost/pipeline_clock.h"

#include <gtest/gtest.h>

namespace infinipipe {
namespace {

constexpr Seconds kNotArrived = PipelineClock::kNotArrived;

TEST(PipelineClock, KnowsWhatIsThereFromTheStart) {
  const std::vector<Seconds> transfer = {0.5, 0.5};
  PipelineClock clock(3, transfer);
  EXPECT_EQ(clock.arrival(Op::kForward, 0, 1), 0.0);
  EXPECT_EQ(clock.arrival(Op::kForward, 1, 1), kNotArrived);
  EXPECT_EQ(clock.arrival(Op::kBackward, 2, 0), kNotArrived);  // before its forward
  EXPECT_EQ(clock.arrival(Op::kInputGrad, 1, 0), kNotArrived);
  EXPECT_EQ(clock.arrival(Op::kWeightGrad, 1, 0), 0.0);
  EXPECT_FALSE(clock.takes_message(Op::kForward, 0));
  EXPECT_TRUE(clock.takes_message(Op::kForward, 2));
  EXPECT_FALSE(clock.takes_message(Op::kBackward, 2));
  EXPECT_TRUE(clock.takes_message(Op::kInputGrad, 0));
  EXPECT_FALSE(clock.takes_message(Op::kWeightGrad, 1));
}

TEST(PipelineClock, AnOperationWaitsForItsStageAndForItsMessage) {
  const std::vector<Seconds> transfer = {0.5, 0.25};
  PipelineClock clock(2, transfer);
  const auto first = clock.run(Op::kForward, 0, 0, 1.0);
  EXPECT_EQ(first.begin, 0.0);
  EXPECT_EQ(first.end, 1.0);
  ASSERT_TRUE(first.message);
  EXPECT_EQ(first.message->to, 1u);
  EXPECT_EQ(first.message->begin, 1.0);
  EXPECT_EQ(first.message->arrival, 1.5);
  // The stage is free at once, the message makes it wait.
  const auto second = clock.run(Op::kForward, 1, 0, 2.0);
  EXPECT_EQ(second.begin, 1.5);
  EXPECT_EQ(second.end, 3.5);
  EXPECT_FALSE(second.message);
  // Its own forward makes the last stage's gradient.
  const auto backward = clock.run(Op::kBackward, 1, 0, 3.0);
  EXPECT_EQ(backward.begin, 3.5);
  ASSERT_TRUE(backward.message);
  EXPECT_EQ(backward.message->to, 0u);
  EXPECT_EQ(clock.arrival(Op::kBackward, 0, 0), 7.0);
  // The message is there, the stage makes it wait.
  clock.run(Op::kForward, 0, 1, 9.0);
  const auto last = clock.run(Op::kInputGrad, 0, 0, 1.0);
  EXPECT_EQ(last.begin, 10.0);
  EXPECT_FALSE(last.message);
  EXPECT_EQ(clock.free(0), 11.0);
}

TEST(PipelineClock, ALinkCarriesOneMessageAtATime) {
  const std::vector<Seconds> transfer = {5.0, 3.0, 0.5};
  PipelineClock clock(2, transfer);
  EXPECT_EQ(clock.run(Op::kForward, 0, 0, 1.0).message->arrival, 6.0);
  const auto second = clock.run(Op::kForward, 0, 1, 1.0);
  EXPECT_EQ(second.end, 2.0);
  EXPECT_EQ(second.message->begin, 6.0);  // not before the first has arrived
  EXPECT_EQ(second.message->arrival, 9.0);
  const auto third = clock.run(Op::kForward, 0, 2, 20.0);
  EXPECT_EQ(third.message->begin, 22.0);  // the link has been free for long
  // The other direction is another link.
  clock.run(Op::kForward, 1, 0, 1.0);
  EXPECT_EQ(clock.run(Op::kBackward, 1, 0, 1.0).message->begin, 8.0);
}

TEST(PipelineClock, ASchedulerMayHoldAnOperationBack) {
  const std::vector<Seconds> transfer = {0.0};
  PipelineClock clock(1, transfer);
  EXPECT_EQ(clock.run(Op::kForward, 0, 0, 1.0, 4.0).begin, 4.0);
  EXPECT_EQ(clock.run(Op::kBackward, 0, 0, 1.0, 4.5).begin, 5.0);
}

TEST(PipelineClock, AMessageHasArrivedFromItsArrivalOn) {
  const std::vector<Seconds> transfer = {0.5};
  PipelineClock clock(2, transfer);
  EXPECT_FALSE(clock.arrived(Op::kForward, 1, 0, 100.0));
  clock.run(Op::kForward, 0, 0, 1.0);
  EXPECT_FALSE(clock.arrived(Op::kForward, 1, 0, 1.25));
  EXPECT_TRUE(clock.arrived(Op::kForward, 1, 0, 1.5));
}

TEST(PipelineClock, WeightGradientsSendNothing) {
  const std::vector<Seconds> transfer = {0.5};
  PipelineClock clock(2, transfer);
  EXPECT_FALSE(clock.run(Op::kWeightGrad, 1, 0, 1.0).message);
  EXPECT_EQ(clock.arrival(Op::kBackward, 0, 0), kNotArrived);
}

TEST(RunToEnd, StagesAdvanceWhileTheyCan) {
  // Each may run as many as the one after it has run, and the last is free.
  std::vector<std::size_t> done(3, 0);
  run_to_end(3, 12, [&](std::size_t p) -> std::size_t {
    const std::size_t most = p == 2 ? 4 : done[p + 1];
    if (done[p] == most) return 0;
    ++done[p];
    return 1;
  });
  EXPECT_EQ(done, (std::vector<std::size_t>{4, 4, 4}));
}

}  // namespace
}  // namespace infinipipe
