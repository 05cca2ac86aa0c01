// What the pipeline baselines choose for known batches, against a golden file.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "data/lengths.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe {
namespace {

std::string line_of(const std::string& name, const PlanContext& base,
                    const std::vector<Tokens>& lengths) {
  PlanContext context = base;
  context.config.name = name;
  const Bytes limit = context.profile.device_memory_bytes;
  std::string line = "  " + name + ": ";
  try {
    const Plan plan = make_planner(context, std::make_shared<SimulatorEvaluator>(limit))
                          ->plan({.sequences = lengths});
    const CostModel cost(context.profile, context.parallelism, plan.stages);
    EXPECT_FALSE(validate(plan));
    EXPECT_NO_THROW(require_fits(plan, cost, limit));
    EXPECT_EQ(simulate(plan, cost).prediction.seconds, plan.predicted->seconds);
    EXPECT_GE(plan.predicted->seconds, plan.predicted->lower_bound);
    const Candidate& best = plan.planner.candidates.front();
    char text[160];
    std::snprintf(text, sizeof(text), "%.6g s, bubble %.4f, K %d, %lld tokens, %d chunks, %s",
                  plan.predicted->seconds, plan.predicted->bubble, best.slices,
                  static_cast<long long>(best.chunk_tokens), best.chunks, best.note.c_str());
    return line + text + "\n";
  } catch (const RunError& error) {
    return line + "does not fit\n";
  }
}

TEST(PipelineBaselines, ChooseWhatTheGoldenFileSays) {
  std::string text;
  const std::string golden = std::string(INFINIPIPE_GOLDEN) + "/pipeline_baselines.txt";
  for (const auto& [profile, layers] :
       {std::pair{"llama-7b-a800", 32}, {"llama-13b-a800", 40}, {"llama-30b-a800", 60}}) {
    PlanContext context;
    context.profile =
        read_profile(std::string(INFINIPIPE_GOLDEN) + "/../../profiles/" + profile + ".json");
    context.layers = layers;
    context.parallelism = {.stages = 4, .sequence_parallel = 8};
    for (const char* corpus : {"github", "commoncrawl"}) {
      for (const Tokens cap : {49152, 196608}) {
        text += std::string(profile) + " " + corpus + " " + std::to_string(cap) + "\n";
        const std::vector<Tokens> lengths = synthetic_lengths(length_model(corpus), 96, cap, 5);
        for (const char* name : {"1f1b", "gpipe", "seq1f1b", "seq1f1b-fixed", "mepipe"}) {
          text += line_of(name, context, lengths);
        }
      }
    }
  }
  if (std::getenv("INFINIPIPE_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(golden) << text;
    return;
  }
  std::ifstream file(golden);
  std::stringstream expected;
  expected << file.rdbuf();
  EXPECT_EQ(text, expected.str());
}

}  // namespace
}  // namespace infinipipe
