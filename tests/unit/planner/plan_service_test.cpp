#include "planner/plan_service.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#include "base/random.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// Plans whose step tells which request they answer; dawdles as told.
class FakePlanner final : public Planner {
 public:
  explicit FakePlanner(std::function<void(int)> before = {}) : before_(std::move(before)) {}

  Plan plan(const PlanRequest& request) const override {
    if (before_) before_(request.step);
    ++calls;
    Plan plan;
    plan.step = request.step;
    plan.sequences = request.sequences;
    return plan;
  }

  mutable std::atomic<int> calls{0};

 private:
  std::function<void(int)> before_;
};

PlanRequest request_of(int step) { return {.sequences = {step + 1, 2 * step + 1}, .step = step}; }

void doze(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

TEST(PlanService, GivesEachStepItsPlan) {
  for (const int ahead : {0, 1, 3}) {
    for (const int threads : {1, 3}) {
      const auto planner = std::make_shared<FakePlanner>([](int step) { doze(step % 3); });
      PlanService service(planner, request_of,
                          {.ahead = ahead, .threads = threads, .first = 4, .end = 20});
      for (int step = 4; step < 20; ++step) {
        const auto ready = service.get(step);
        EXPECT_EQ(ready.plan.step, step);
        EXPECT_EQ(ready.plan.sequences, request_of(step).sequences);
        EXPECT_GE(ready.waited, 0.0);
      }
      EXPECT_EQ(planner->calls, 16);
    }
  }
}

TEST(PlanService, PlansAheadWhileTheCallerIsBusy) {
  std::atomic<int> highest{-1};
  const auto planner = std::make_shared<FakePlanner>([&](int step) {
    int seen = highest;
    while (seen < step && !highest.compare_exchange_weak(seen, step)) {
    }
  });
  PlanService service(planner, request_of, {.ahead = 3, .threads = 1, .first = 0, .end = 100});
  service.get(0);
  while (highest < 3) doze(1);  // the test's time limit is the assertion
  doze(20);
  EXPECT_EQ(highest, 3);
}

TEST(PlanService, TellsWaitingFromWorking) {
  std::atomic<int> done{0};
  const auto planner = std::make_shared<FakePlanner>([&](int step) {
    if (step == 0) doze(30);
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(5);
    while (std::chrono::steady_clock::now() < until) {
    }
    ++done;
  });
  PlanService service(planner, request_of, {.ahead = 2, .threads = 1, .first = 0, .end = 9});
  const auto first = service.get(0);
  EXPECT_GE(first.waited, 0.03) << "nothing was there yet";
  EXPECT_LT(first.processor, first.waited) << "sleeping takes no processor";
  while (done < 3) doze(1);
  doze(20);
  const auto second = service.get(1);
  EXPECT_EQ(second.waited, 0.0) << "it was there";
  EXPECT_GT(second.processor, 0.0);
}

TEST(PlanService, AsksForRequestsInOrderOnTheCallersThread) {
  const auto caller = std::this_thread::get_id();
  std::vector<int> asked;
  const auto request = [&](int step) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    asked.push_back(step);
    return request_of(step);
  };
  PlanService service(std::make_shared<FakePlanner>(), request,
                      {.ahead = 2, .threads = 2, .first = 0, .end = 6});
  for (int step = 0; step < 6; ++step) service.get(step);
  EXPECT_EQ(asked, (std::vector<int>{0, 1, 2, 3, 4, 5}));
}

TEST(PlanService, AFailureReachesItsStepAndNoOther) {
  const auto planner = std::make_shared<FakePlanner>([](int step) {
    if (step == 2) throw RunError("plan", "stage 1 needs too much");
  });
  const auto request = [](int step) {
    if (step == 4) throw InputError("data", "broken");
    return request_of(step);
  };
  for (const int ahead : {0, 2}) {
    PlanService service(planner, request, {.ahead = ahead, .threads = 2, .first = 0, .end = 7});
    for (int step = 0; step < 7; ++step) {
      if (step == 2) {
        EXPECT_THROW(service.get(step), RunError);
      } else if (step == 4) {
        EXPECT_THROW(service.get(step), InputError);
      } else {
        EXPECT_EQ(service.get(step).plan.step, step);
      }
    }
  }
}

TEST(PlanService, StepsMayBeSkippedAndRepeated) {
  const auto planner = std::make_shared<FakePlanner>([](int step) { doze(step % 4); });
  PlanService service(planner, request_of, {.ahead = 2, .threads = 2, .first = 0, .end = 200});
  Random random(3);
  for (int i = 0; i < 120; ++i) {
    const int step = static_cast<int>(random.between(0, 199));
    EXPECT_EQ(service.get(step).plan.step, step);
  }
}

TEST(PlanService, ShutsDownInTheMiddleOfPlanning) {
  std::atomic<bool> started{false};
  const auto planner = std::make_shared<FakePlanner>([&](int step) {
    if (step > 0) {
      started = true;
      doze(30);
    }
  });
  {
    PlanService service(planner, request_of, {.ahead = 50, .threads = 2, .first = 0, .end = 100});
    service.get(0);
    while (!started) doze(1);
  }
  EXPECT_LE(planner->calls, 10);  // those under way ended, the rest was dropped
}

TEST(PlanService, RefusesStepsThatDoNotExist) {
  PlanService service(std::make_shared<FakePlanner>(), request_of,
                      {.ahead = 1, .threads = 1, .first = 2, .end = 4});
  EXPECT_THROW(service.get(1), InputError);
  EXPECT_THROW(service.get(4), InputError);
  EXPECT_EQ(service.get(3).plan.step, 3);
}

}  // namespace
}  // namespace infinipipe
