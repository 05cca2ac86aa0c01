// The simulator against an independent, naive reading of the same accounting, on random plans.
#include <gtest/gtest.h>

#include <cstdlib>

#include "infinipipe/base/error.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/sim/simulator.h"
#include "naive_checker.h"
#include "random_plans.h"

namespace infinipipe {
namespace {

using testing::BackwardKind;
using testing::NaiveChecker;
using testing::RandomShape;

constexpr int kPlans = 2000;

struct Case {
  RandomShape shape;
  Plan plan;
  Json profile;
};

Case make_case(int seed) {
  Random random(static_cast<std::uint64_t>(seed), 41);
  Case result;
  result.shape = testing::random_shape(random);
  result.plan = testing::random_plan(random, result.shape);
  result.profile = testing::random_profile(random, result.shape);
  testing::random_levels(random, result.profile, result.plan);
  if (seed % 2 == 0) testing::random_degrees(random, result.plan);
  return result;
}

CostModel cost_of(const Case& c) {
  return plan_cost(profile_from_json(c.profile, "random"), c.plan);
}

double tolerance(double value) { return 1e-9 * std::max(1.0, std::abs(value)); }

TEST(SimulatorProperty, RandomPlansAreValid) {
  for (int seed = 0; seed < kPlans; ++seed) {
    const Case c = make_case(seed);
    const auto problem = validate(c.plan);
    ASSERT_FALSE(problem) << "seed " << seed << ": " << problem->message;
  }
}

TEST(SimulatorProperty, AgreesWithTheNaiveChecker) {
  int cut = 0, recomputed = 0, split_backward = 0, evaluations = 0, layerwise = 0;
  int sub_groups = 0;
  for (int seed = 0; seed < kPlans; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Case c = make_case(seed);
    const CostModel cost = cost_of(c);
    const Simulation simulation = simulate(c.plan, cost);
    double slowest = 0.0;
    std::vector<double> peaks(c.plan.stages.size(), 0.0);
    for (std::size_t r = 0; r < c.plan.replicas.size(); ++r) {
      const NaiveChecker::Result naive = NaiveChecker(c.plan, c.profile, r).run();
      slowest = std::max(slowest, naive.seconds);
      const Evaluation fast = SimulatorEvaluator(0.0).evaluate(c.plan, cost, ReplicaId(r));
      ASSERT_NEAR(fast.seconds, naive.seconds, tolerance(naive.seconds));
      double busy = 0.0;
      for (std::size_t p = 0; p < naive.peak.size(); ++p) {
        ASSERT_NEAR(fast.stages[p].compute, naive.compute[p], tolerance(naive.compute[p]));
        ASSERT_NEAR(fast.stages[p].recompute, naive.recompute[p], tolerance(naive.recompute[p]));
        ASSERT_NEAR(fast.stages[p].peak_bytes, naive.peak[p], tolerance(naive.peak[p]));
        ASSERT_NEAR(fast.stages[p].wait, naive.seconds - naive.compute[p] - naive.recompute[p],
                    tolerance(naive.seconds));
        peaks[p] = std::max(peaks[p], naive.peak[p]);
        busy += naive.compute[p] + naive.recompute[p];
        recomputed += naive.recompute[p] > 0.0;
      }
      const double stages = static_cast<double>(naive.peak.size());
      ASSERT_NEAR(fast.bubble, 1.0 - busy / (stages * naive.seconds), 1e-9);
    }
    ASSERT_NEAR(simulation.prediction.seconds, slowest, tolerance(slowest));
    for (std::size_t p = 0; p < peaks.size(); ++p) {
      ASSERT_NEAR(simulation.prediction.stages[p].peak_bytes, peaks[p], tolerance(peaks[p]));
    }
    for (const bool is_cut : c.plan.cut_sequences()) cut += is_cut;
    split_backward += c.shape.backward == BackwardKind::kSplit;
    evaluations += c.plan.forward_only();
    layerwise += cost.layerwise();
    sub_groups += c.plan.in_sub_groups();
  }
  // The plans were of every kind.
  EXPECT_GT(cut, kPlans);
  EXPECT_GT(recomputed, kPlans);
  EXPECT_GT(split_backward, kPlans / 8);
  EXPECT_GT(evaluations, kPlans / 8);
  EXPECT_NEAR(layerwise, kPlans / 2, kPlans / 20);
  EXPECT_GT(sub_groups, kPlans / 5);
}

// What is true of any trace, whatever the numbers.
TEST(SimulatorProperty, TracesKeepTheRules) {
  for (int seed = 0; seed < kPlans; seed += 4) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    const Case c = make_case(seed);
    const CostModel cost = cost_of(c);
    const Simulation simulation = simulate(c.plan, cost);
    std::map<std::tuple<int, int, std::string>, TraceEvent> events;
    const TraceEvent* before = nullptr;
    for (const TraceEvent& event : simulation.trace.events) {
      ASSERT_LE(event.ready, event.begin);
      ASSERT_LE(event.begin + event.recompute, event.end + 1e-12);
      if (before != nullptr && before->stage == event.stage && before->replica == event.replica) {
        ASSERT_LE(before->end, event.begin) << "a stage does one thing at a time";
      }
      before = &event;
      events[{event.replica.value(), event.stage.value(), to_string(event.instruction)}] = event;
    }
    std::size_t count = 0;
    for (const Replica& replica : c.plan.replicas) {
      for (const auto& list : replica.instructions) count += list.size();
    }
    ASSERT_EQ(events.size(), count);
    for (const TransferEvent& transfer : simulation.trace.transfers) {
      const TraceEvent& producer = events.at(
          {transfer.replica.value(), transfer.from.value(), to_string(transfer.producer)});
      ASSERT_GE(transfer.begin, producer.end);
      Instruction consumer = transfer.producer;
      auto found =
          events.find({transfer.replica.value(), transfer.to.value(), to_string(consumer)});
      for (const Op op : {Op::kBackward, Op::kInputGrad}) {
        if (found != events.end() || consumer.op == Op::kForward) break;
        consumer.op = op;
        found = events.find({transfer.replica.value(), transfer.to.value(), to_string(consumer)});
      }
      ASSERT_NE(found, events.end());
      ASSERT_GE(found->second.begin, transfer.end) << "before its message arrived";
    }
    // Samples: within the peak, reaching it, and back to the start's bytes after the last.
    std::vector<double> most(c.plan.stages.size(), 0.0);
    std::map<std::pair<int, int>, std::pair<double, double>> ends;
    for (const MemorySample& sample : simulation.trace.memory) {
      double total = 0.0;
      for (const Bytes bytes : sample.bytes) {
        ASSERT_GE(bytes, -1e-3);
        total += bytes;
      }
      most[sample.stage.index()] = std::max(most[sample.stage.index()], total);
      auto [place, first] =
          ends.try_emplace({sample.replica.value(), sample.stage.value()}, total, total);
      place->second.second = total;
    }
    for (std::size_t p = 0; p < most.size(); ++p) {
      const double peak = simulation.prediction.stages[p].peak_bytes;
      ASSERT_NEAR(most[p], peak, tolerance(peak));
    }
    for (const auto& [key, pair] : ends) {
      ASSERT_NEAR(pair.first, pair.second, tolerance(pair.first) + 1e-3)
          << "all is freed at the end";
    }
  }
}

TEST(SimulatorProperty, SameBitsEveryTime) {
  for (int seed = 0; seed < 100; ++seed) {
    const Case c = make_case(seed);
    const CostModel cost = cost_of(c);
    const Simulation first = simulate(c.plan, cost);
    const Simulation second = simulate(c.plan, cost);
    ASSERT_EQ(first.prediction.seconds, second.prediction.seconds);
    const Evaluation fast = SimulatorEvaluator(0.0).evaluate(c.plan, cost, ReplicaId(0));
    if (c.plan.replicas.size() == 1) {
      ASSERT_EQ(fast.seconds, first.prediction.seconds);
      for (std::size_t p = 0; p < fast.stages.size(); ++p) {
        ASSERT_EQ(fast.stages[p].peak_bytes, first.prediction.stages[p].peak_bytes);
      }
    }
  }
}

TEST(SimulatorProperty, FitsExactlyUpToThePeak) {
  for (int seed = 0; seed < 300; ++seed) {
    const Case c = make_case(seed);
    const CostModel cost = cost_of(c);
    double peak = 0.0;
    for (const auto& stage : simulate(c.plan, cost).prediction.stages) {
      peak = std::max(peak, stage.peak_bytes);
    }
    EXPECT_NO_THROW(require_fits(c.plan, cost, peak));
    EXPECT_THROW(require_fits(c.plan, cost, peak * 0.999), RunError);
    EXPECT_NO_THROW(require_fits(c.plan, cost, 0.0)) << "no limit";
  }
}

}  // namespace
}  // namespace infinipipe
