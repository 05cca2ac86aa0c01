// The choice of parallelism against planning and simulating each layout by hand.
#include "planner/parallel_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "cost/step_overhead.h"
#include "data/lengths.h"
#include "infinipipe/base/error.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe {
namespace {

PlanContext llama_7b() {
  PlanContext context;
  context.profile =
      read_profile(std::string(INFINIPIPE_GOLDEN) + "/../../profiles/llama-7b-a800.json");
  context.layers = 32;
  return context;
}

std::shared_ptr<const Evaluator> judge(const PlanContext& context) {
  return std::make_shared<SimulatorEvaluator>(context.profile.device_memory_bytes);
}

std::vector<std::vector<Tokens>> sample() {
  std::vector<std::vector<Tokens>> batches;
  for (int step = 0; step < 2; ++step) {
    batches.push_back(synthetic_lengths(length_model("github"), 64, 98304, 7 + step));
  }
  return batches;
}

TEST(ParallelChoice, EveryLayoutIsWhatPlanningItGives) {
  const PlanContext context = llama_7b();
  const auto batches = sample();
  const ParallelChoice choice = choose_parallelism(context, 32, 8, batches, judge(context));
  ASSERT_TRUE(choice.found());
  std::set<std::tuple<int, int, int>> seen;
  Seconds before = 0.0;
  int feasible = 0;
  for (const ParallelOption& option : choice.options) {
    const Parallelism& p = option.parallelism;
    EXPECT_EQ(p.stages * p.sequence_parallel * p.data_parallel, 32);
    EXPECT_TRUE(seen.insert({p.stages, p.sequence_parallel, p.data_parallel}).second);
    EXPECT_FALSE(option.note.empty());
    if (!option.feasible) continue;
    ++feasible;
    EXPECT_GE(option.seconds, before);
    before = option.seconds;
    PlanContext own = context;
    own.parallelism = p;
    const auto planner = make_planner(own, judge(own));
    Seconds seconds = 0.0;
    Bytes peak = 0.0;
    for (const auto& batch : batches) {
      const Plan plan = planner->plan({.sequences = batch});
      const CostModel cost(own.profile, p, plan.stages);
      seconds += simulate(plan, cost).prediction.seconds + step_overhead(plan, cost, 8).total();
      for (const StagePrediction& stage : simulate(plan, cost).prediction.stages) {
        peak = std::max(peak, stage.peak_bytes);
      }
    }
    EXPECT_NEAR(option.seconds, seconds / 2.0, 1e-9 * seconds);
    EXPECT_EQ(option.peak_bytes, peak);
    EXPECT_LE(option.peak_bytes, context.profile.device_memory_bytes);
    EXPECT_NEAR(option.compute + option.recompute + option.wait + option.gathers +
                    option.reduction + option.heads,
                option.seconds, 1e-9 * seconds);
    EXPECT_GE(option.seconds, option.lower_bound * (1.0 - 1e-9));
  }
  EXPECT_GT(feasible, 8);
  EXPECT_EQ(choice.options.front().note, "fastest");
  // One device a stage of 32 layers can't hold the model.
  EXPECT_LT(feasible, static_cast<int>(choice.options.size()));
}

TEST(ParallelChoice, ComesOutTheSameAgain) {
  const PlanContext context = llama_7b();
  const auto batches = sample();
  const ParallelChoice a = choose_parallelism(context, 16, 8, batches, judge(context));
  const ParallelChoice b = choose_parallelism(context, 16, 8, batches, judge(context));
  ASSERT_EQ(a.options.size(), b.options.size());
  for (std::size_t i = 0; i < a.options.size(); ++i) {
    EXPECT_EQ(a.options[i].parallelism, b.options[i].parallelism);
    EXPECT_EQ(a.options[i].seconds, b.options[i].seconds);
    EXPECT_EQ(a.options[i].note, b.options[i].note);
  }
}

TEST(ParallelChoice, AnAbsentBandwidthRulesALayoutOutAndIsNamed) {
  PlanContext context = llama_7b();
  context.profile.links.all_to_all.erase(8);
  context.profile.links.reduce_scatter.erase(16);
  const ParallelChoice choice = choose_parallelism(context, 32, 8, sample(), judge(context));
  int ruled_out = 0;
  for (const ParallelOption& option : choice.options) {
    const Parallelism& p = option.parallelism;
    if (p.sequence_parallel == 8) {
      EXPECT_FALSE(option.feasible);
      EXPECT_NE(option.note.find("all_to_all"), std::string::npos) << option.note;
      ++ruled_out;
    } else if (p.sequence_parallel == 4 && p.data_parallel == 4) {
      EXPECT_FALSE(option.feasible);
      EXPECT_NE(option.note.find("reduce_scatter"), std::string::npos) << option.note;
      ++ruled_out;
    }
  }
  EXPECT_GT(ruled_out, 3);
}

TEST(ParallelChoice, WrongUse) {
  const PlanContext context = llama_7b();
  EXPECT_THROW(choose_parallelism(context, 0, 8, sample(), judge(context)), InputError);
  EXPECT_THROW(choose_parallelism(context, 8, 0, sample(), judge(context)), InputError);
  EXPECT_THROW(choose_parallelism(context, 8, 8, {}, judge(context)), InputError);
  PlanContext wrong = context;
  wrong.config.name = "seq1f1";  // not a note on every layout
  EXPECT_THROW(choose_parallelism(wrong, 8, 8, sample(), judge(context)), InputError);
  wrong = context;
  wrong.config.recompute_keeps = "attention";  // which this profile does not know
  EXPECT_THROW(choose_parallelism(wrong, 8, 8, sample(), judge(context)), InputError);
}

TEST(ParallelChoice, NothingFits) {
  PlanContext context = llama_7b();
  context.bytes_per_stage = 1e9;
  const ParallelChoice choice = choose_parallelism(context, 8, 8, sample(), judge(context));
  EXPECT_FALSE(choice.found());
  ASSERT_NE(choice.nearest(), nullptr);
  for (const ParallelOption& option : choice.options) {
    EXPECT_NE(option.note.find(" needs "), std::string::npos) << option.note;
    EXPECT_GE(option.missing, choice.nearest()->missing);
  }
  EXPECT_GT(choice.nearest()->missing, 0.0);
}

// More devices a group than heads cannot run; uneven heads can, cost and are marked.
TEST(ParallelChoice, HeadsDecideWhichGroupsThereAre) {
  PlanContext context = llama_7b();
  // Plenty: else plans differ, as the device with most heads also holds more.
  context.profile.device_memory_bytes = 1e13;
  const auto batches = sample();
  const ParallelChoice even = choose_parallelism(context, 8, 8, batches, judge(context));
  context.profile.heads = {4, 4};
  const ParallelChoice few = choose_parallelism(context, 8, 8, batches, judge(context));
  context.profile.heads = {7, 7};
  const ParallelChoice uneven = choose_parallelism(context, 8, 8, batches, judge(context));
  const auto at = [](const ParallelChoice& choice, const Parallelism& parallelism) {
    for (const ParallelOption& option : choice.options) {
      if (option.parallelism == parallelism) return option;
    }
    return ParallelOption{};
  };
  EXPECT_FALSE(at(few, {1, 8, 1}).feasible);
  EXPECT_EQ(at(few, {1, 8, 1}).note, "8 devices cannot share 4 attention heads");
  const ParallelOption before = at(even, {2, 4, 1});
  EXPECT_EQ(at(few, {2, 4, 1}).seconds, before.seconds);
  const ParallelOption after = at(uneven, {2, 4, 1});
  ASSERT_TRUE(after.feasible) << after.note;
  EXPECT_GT(after.heads, 0.0);
  EXPECT_NEAR(after.seconds - before.seconds, after.heads, 1e-9 * after.seconds);
  EXPECT_NE(after.note.find("heads uneven: 2 or 1 a device"), std::string::npos) << after.note;
  EXPECT_EQ(before.note.find("uneven"), std::string::npos) << before.note;
}

// With a degree for each chunk no layout is slower, and one stage of many devices, whose exchanges
// cross nodes, is the one that gains most.
TEST(ParallelChoice, ADegreeForEachChunkIsJudgedForEveryLayout) {
  PlanContext context = llama_7b();
  context.profile = read_profile(std::string(INFINIPIPE_GOLDEN) +
                                 "/../../profiles/llama-7b-a800-measured-exchange.json");
  const std::vector<std::vector<Tokens>> batches = {
      synthetic_lengths(length_model("commoncrawl"), 128, 16384, 7)};
  const ParallelChoice whole = choose_parallelism(context, 16, 8, batches, judge(context));
  context.config.degree = "auto";
  const ParallelChoice each = choose_parallelism(context, 16, 8, batches, judge(context));
  ASSERT_EQ(whole.options.size(), each.options.size());
  double most = 0.0;
  Parallelism gains_most;
  for (const ParallelOption& option : each.options) {
    const auto same =
        std::find_if(whole.options.begin(), whole.options.end(),
                     [&](const ParallelOption& o) { return o.parallelism == option.parallelism; });
    ASSERT_NE(same, whole.options.end());
    ASSERT_EQ(same->feasible, option.feasible);
    if (!option.feasible) continue;
    EXPECT_LE(option.compute + option.recompute + option.wait,
              (same->compute + same->recompute + same->wait) * (1.0 + 1e-9))
        << to_string(option.parallelism);
    if (same->seconds / option.seconds <= most) continue;
    most = same->seconds / option.seconds;
    gains_most = option.parallelism;
  }
  EXPECT_EQ(gains_most, (Parallelism{1, 16, 1}));
  EXPECT_GT(most, 1.3);
}

}  // namespace
}  // namespace infinipipe
