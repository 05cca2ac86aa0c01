#include "trainer/calibrator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/random.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A plan whose stages are predicted to be busy for 2 and 4 s, a quarter of it recomputation.
Plan predicted_plan(std::vector<double> pace = {}) {
  Plan plan;
  plan.stages = {{0, 1}, {1, 2}};
  plan.stage_pace = std::move(pace);
  Prediction prediction;
  prediction.stages = {{1.5, 0.5, 1.0, 0.0}, {3.0, 1.0, 0.0, 0.0}};
  plan.predicted = prediction;
  return plan;
}

// Two instructions a stage that together took `pace` times those 2 and 4 s.
Trace measured(double first, double second) {
  Trace trace;
  for (int p = 0; p < 2; ++p) {
    const double busy = p == 0 ? 2.0 * first : 4.0 * second;
    TraceEvent event;
    event.stage = StageId(p);
    event.end = 0.25 * busy;
    trace.events.push_back(event);
    event.begin = 1.0 + busy;
    event.end = 1.0 + 1.75 * busy;
    trace.events.push_back(event);
  }
  return trace;
}

void observe(Calibrator& calibrator, int step, double first, double second) {
  calibrator.observe(step, predicted_plan(), measured(first, second));
}

// The pace of each stage at a step of a random history.
std::pair<double, double> random_pace(std::uint64_t history, int step) {
  Random random(history, static_cast<std::uint64_t>(step) + 1);
  const double first = 0.5 + random.uniform();
  return {first, 0.5 + random.uniform()};
}

TEST(Calibrator, PaceIsMeasuredOverPredictedBusyTime) {
  Calibrator calibrator(2, 0, true);
  EXPECT_THAT(calibrator.pace_for(0), IsEmpty());
  observe(calibrator, 0, 1.25, 0.75);
  EXPECT_THAT(calibrator.pace_for(0), IsEmpty()) << "its own step";
  EXPECT_THAT(calibrator.pace_for(1), ElementsAre(1.25, 0.75));
}

// A plan made at a pace predicts that pace: what is compared is the profile behind it.
TEST(Calibrator, OfSeveralReplicasTheSlowestIsHeldAgainstThePrediction) {
  Calibrator calibrator(2, 0, true);
  Trace both = measured(1.5, 2.0);
  for (TraceEvent& event : both.events) event.replica = ReplicaId(1);
  for (const TraceEvent& event : measured(1.25, 1.0).events) both.events.push_back(event);
  calibrator.observe(0, predicted_plan(), both);
  EXPECT_THAT(calibrator.pace_for(1), ElementsAre(1.5, 2.0));
}

TEST(Calibrator, ThePlansOwnPaceIsTakenOut) {
  Calibrator calibrator(2, 0, true);
  calibrator.observe(0, predicted_plan({1.25, 0.5}), measured(1.0, 1.0));
  EXPECT_THAT(calibrator.pace_for(1), ElementsAre(1.25, 0.5));
}

TEST(Calibrator, TakesTheMedianOfTheLastSteps) {
  Calibrator calibrator(2, 0, true);
  observe(calibrator, 0, 1.0, 1.0);
  observe(calibrator, 1, 1.5, 2.0);
  EXPECT_THAT(calibrator.pace_for(2), ElementsAre(1.25, 1.5)) << "of two: their middle";
  observe(calibrator, 2, 3.5, 1.25);
  EXPECT_THAT(calibrator.pace_for(3), ElementsAre(1.5, 1.25));
  for (int step = 3; step < 3 + Calibrator::kWindow; ++step) {
    observe(calibrator, step, step == 5 ? 4.0 : 1.125, 1.0);
  }
  EXPECT_THAT(calibrator.pace_for(3 + Calibrator::kWindow), ElementsAre(1.125, 1.0))
      << "the first steps are forgotten, a disturbed one does not count";
}

TEST(Calibrator, RoundsToSixtyFourths) {
  Calibrator calibrator(2, 0, true);
  observe(calibrator, 0, 1.0 + 0.4 / 64, 1.0 + 0.6 / 64);
  EXPECT_THAT(calibrator.pace_for(1), ElementsAre(1.0, 65.0 / 64));
}

TEST(Calibrator, ClampsWhatIsNoDrift) {
  Calibrator calibrator(2, 0, true);
  observe(calibrator, 0, 1000.0, 1e-6);
  EXPECT_THAT(calibrator.pace_for(1), ElementsAre(4.0, 0.25));
}

TEST(Calibrator, StepsWithoutPredictionOrWorkSayNothing) {
  Calibrator calibrator(2, 0, true);
  Plan plan = predicted_plan();
  plan.predicted->stages[1] = {};
  calibrator.observe(0, plan, measured(2.0, 2.0));
  plan.predicted.reset();
  calibrator.observe(1, plan, measured(2.0, 2.0));
  EXPECT_THAT(calibrator.pace_for(2), IsEmpty());
}

TEST(Calibrator, OffMeansOff) {
  Calibrator on(2, 0, true);
  Calibrator off(2, 0, false);
  for (Calibrator* each : {&on, &off}) observe(*each, 0, 2.0, 2.0);
  EXPECT_THAT(off.pace_for(1), IsEmpty());
  EXPECT_EQ(off.state()["observations"].size(), 0u);
  const Json state = on.state();
  off.restore(JsonView(state, "state"));  // of a run that had it on
  EXPECT_THAT(off.pace_for(1), IsEmpty());
}

// Two histories that part ways at some step give the same plans for as long as plans cannot know.
TEST(Calibrator, APlanDependsOnNoStepThatWasNotOverWhenItWasMade) {
  constexpr int kSteps = 40;
  for (const int ahead : {0, 1, 2, 5}) {
    for (const int parting : {0, 1, 7, 20, 39}) {
      Calibrator one(2, ahead, true);
      Calibrator other(2, ahead, true);
      int told_apart = -1;
      for (int step = 0; step < kSteps; ++step) {
        const auto [a, b] = random_pace(1, step);
        observe(one, step, a, b);
        const auto [c, d] = random_pace(step < parting ? 1 : 2, step);
        observe(other, step, c, d);
        // The service may ask for any of these now.
        for (int asked = step + 1; asked <= step + 1 + ahead; ++asked) {
          if (asked - ahead - 1 < parting) {
            ASSERT_EQ(one.pace_for(asked), other.pace_for(asked)) << "step " << asked;
          } else if (told_apart < 0 && one.pace_for(asked) != other.pace_for(asked)) {
            told_apart = asked;
          }
        }
      }
      if (parting < 20) {
        EXPECT_GE(told_apart, parting + ahead + 1);
      }
    }
  }
}

// Asked early or late, a step's pace is the same.
TEST(Calibrator, TheTimeOfAskingDoesNotMatter) {
  constexpr int kAhead = 3;
  Calibrator calibrator(2, kAhead, true);
  std::vector<std::vector<double>> first(60);
  std::vector<bool> asked(60, false);
  for (int step = 0; step < 40; ++step) {
    const auto [a, b] = random_pace(3, step);
    observe(calibrator, step, a, b);
    for (int next = step + 1; next <= step + 1 + kAhead; ++next) {
      const auto at = static_cast<std::size_t>(next);
      if (asked[at]) {
        EXPECT_EQ(calibrator.pace_for(next), first[at]) << "step " << next;
      } else if (next - kAhead - 1 <= step) {
        first[at] = calibrator.pace_for(next);
        asked[at] = true;
      }
    }
  }
}

TEST(Calibrator, RestoredItGoesOnAsIfNothingHadHappened) {
  constexpr int kAhead = 2;
  for (const int stop : {0, 3, 8, 15, 30}) {
    Calibrator whole(2, kAhead, true);
    for (int step = 0; step < stop; ++step) {
      const auto [a, b] = random_pace(4, step);
      observe(whole, step, a, b);
    }
    const Json state = parse_json(whole.state().dump(), "state");
    Calibrator resumed(2, kAhead, true);
    observe(resumed, 0, 3.0, 3.0);  // forgotten
    resumed.restore(JsonView(state, "state"));
    for (int step = stop; step < stop + 20; ++step) {
      for (int asked = step; asked <= step + kAhead; ++asked) {
        ASSERT_EQ(resumed.pace_for(asked), whole.pace_for(asked)) << "stop " << stop;
      }
      const auto [a, b] = random_pace(4, step);
      observe(whole, step, a, b);
      observe(resumed, step, a, b);
    }
    EXPECT_EQ(resumed.state(), whole.state());
  }
}

TEST(Calibrator, KeepsNoMoreThanPlansToComeMayNeed) {
  Calibrator calibrator(2, 2, true);
  for (int step = 0; step < 1000; ++step) observe(calibrator, step, 1.0, 1.0);
  EXPECT_LE(calibrator.state()["observations"].size(), Calibrator::kWindow + 3u);
}

TEST(Calibrator, RefusesStatesThatAreNotItsOwn) {
  Calibrator calibrator(2, 0, true);
  observe(calibrator, 0, 1.0, 1.0);
  const auto refusal = [&](const Json& state) -> std::string {
    try {
      Calibrator(2, 0, true).restore(JsonView(state, "state"));
    } catch (const InputError& error) {
      return error.what();
    }
    return "accepted";
  };
  const Json good = calibrator.state();
  EXPECT_EQ(refusal(good), "accepted");
  Json bad = good;
  bad["version"] = 2;
  EXPECT_THAT(refusal(bad), HasSubstr("expected version 1"));
  bad = good;
  bad.erase("observations");
  EXPECT_THAT(refusal(bad), HasSubstr("observations"));
  bad = good;
  bad["observations"][0]["pace"] = {1.0, 1.0, 1.0};
  EXPECT_THAT(refusal(bad), HasSubstr("one number for each of the stages"));
  bad["observations"][0]["pace"] = {1.0, -1.0};
  EXPECT_THAT(refusal(bad), HasSubstr("pace"));
  bad["observations"][0].erase("step");
  EXPECT_THAT(refusal(bad), HasSubstr("step"));
}

}  // namespace
}  // namespace infinipipe
