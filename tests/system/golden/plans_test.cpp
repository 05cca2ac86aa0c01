// A dozen plans as text, compared with tests/golden/plans. A change shows which chunks, orders and
// recomputations became others, and what that does to the step. INFINIPIPE_UPDATE_GOLDEN=1
// rewrites.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/file.h"
#include "data/lengths.h"
#include "infinipipe/core/plan_json.h"
#include "infinipipe/planner/factory.h"
#include "infinipipe/sim/simulator.h"

namespace infinipipe {
namespace {

struct GoldenCase {
  std::string name;
  std::string why;  // what it shows
  std::vector<Tokens> sequences;
  std::string planner = "epp";
  int stages = 2;
  Bytes bytes_per_stage = 0.0;  // 0: the device's
  std::string model = "7b";
  int layers = 32;
  int data_parallel = 1;
  bool forward_only = false;
};

std::vector<Tokens> corpus(const char* model, int count, Tokens cap) {
  return synthetic_lengths(length_model(model), count, cap, 1);
}

// Few sequences and stages: each file is read as a whole in review.
std::vector<GoldenCase> golden_cases() {
  const std::vector<Tokens> mixed = {40000, 9000, 3000, 2500, 2000, 1200, 800, 500, 300, 200, 100};
  return {
      {.name = "one_sequence", .why = "cut so that two stages overlap", .sequences = {32768}},
      {.name = "all_equal",
       .why = "nothing to cut, packed evenly",
       .sequences = std::vector<Tokens>(16, 2048)},
      {.name = "mixed_loose",
       .why = "cut, filled and packed; memory is no matter",
       .sequences = mixed},
      {.name = "mixed_tight",
       .why = "recomputation by chunk and stage",
       .sequences = mixed,
       .bytes_per_stage = 27e9},
      {.name = "mixed_scarce",
       .why = "a quarter less memory: more chunks recompute more layers",
       .sequences = mixed,
       .bytes_per_stage = 21e9},
      {.name = "mixed_paper",
       .why = "the paper's own method: 1F1B, diagonals",
       .sequences = mixed,
       .planner = "epp-1f1b",
       .bytes_per_stage = 27e9},
      {.name = "mixed_four_stages", .why = "a longer pipeline", .sequences = mixed, .stages = 4},
      {.name = "two_giants",
       .why = "two cut sequences, one after the other",
       .sequences = {60000, 60000, 1000},
       .stages = 3,
       .bytes_per_stage = 40e9},
      {.name = "two_replicas",
       .why = "the batch dealt to two replicas",
       .sequences = mixed,
       .data_parallel = 2},
      {.name = "evaluation", .why = "forwards only", .sequences = mixed, .forward_only = true},
      {.name = "github",
       .why = "a small batch of a code corpus on 13b",
       .sequences = corpus("github", 32, 65536),
       .stages = 4,
       .model = "13b",
       .layers = 40},
      {.name = "commoncrawl",
       .why = "a small batch of a web corpus on 13b",
       .sequences = corpus("commoncrawl", 48, 65536),
       .stages = 4,
       .model = "13b",
       .layers = 40},
  };
}

template <class... T>
void print(std::string& text, const char* format, T... values) {
  char line[512];
  std::snprintf(line, sizeof(line), format, values...);
  text += line;
}

std::string chunk_text(const Chunk& chunk) {
  constexpr const char* kKinds[] = {"split", "hybrid", "batched"};
  std::string text = kKinds[static_cast<int>(chunk.kind)];
  for (const Slice& slice : chunk.slices) {
    print(text, " %d[%lld:%lld]", slice.sequence.value(), static_cast<long long>(slice.begin),
          static_cast<long long>(slice.end));
  }
  text += " recompute";
  for (const Keeping& keeping : chunk.keeping) print(text, " %d", keeping.remade());
  return text;
}

// Runs of the same operation are written once: F0.0 .1 .2 B0.2 .1 .0.
std::string order_text(const std::vector<Instruction>& list) {
  std::string text;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const bool same =
        i > 0 && list[i].op == list[i - 1].op && list[i].pipeline == list[i - 1].pipeline;
    text += " " + (same ? "." + std::to_string(list[i].chunk.value()) : to_string(list[i]));
  }
  return text;
}

std::string plan_text(const GoldenCase& c, const Plan& plan) {
  std::string text = c.name + ": " + c.why + "\n";
  print(text, "%s, llama-%s, %d stages x 8 x %d, %.1f GB a device\n", c.planner.c_str(),
        c.model.c_str(), c.stages, c.data_parallel, plan.bytes_per_stage / 1e9);
  text += "sequences:";
  for (const Tokens length : plan.sequences) print(text, " %lld", static_cast<long long>(length));
  print(text, "\nK %d, schedule %s, solver %s\n", plan.planner.slices,
        plan.planner.schedule.c_str(), plan.planner.solver.status.c_str());
  const Prediction& p = *plan.predicted;
  print(text, "step %.6f s, at least %.6f s, bubble %.2f%%\n", p.seconds, p.lower_bound,
        100.0 * p.bubble);
  for (std::size_t s = 0; s < p.stages.size(); ++s) {
    print(text, "stage %zu: layers %d-%d, compute %.6f s, recompute %.6f s, peak %.3f GB\n", s,
          plan.stages[s].begin, plan.stages[s].end - 1, p.stages[s].compute, p.stages[s].recompute,
          p.stages[s].peak_bytes / 1e9);
  }
  for (std::size_t r = 0; r < plan.replicas.size(); ++r) {
    const Replica& replica = plan.replicas[r];
    for (std::size_t i = 0; i < replica.pipelines.size(); ++i) {
      print(text, "replica %zu pipeline %zu, N_split %d\n", r, i,
            replica.pipelines[i].warmup_slices);
      for (std::size_t k = 0; k < replica.pipelines[i].chunks.size(); ++k) {
        print(text, "  %zu: ", k);
        text += chunk_text(replica.pipelines[i].chunks[k]) + "\n";
      }
    }
    for (std::size_t s = 0; s < replica.instructions.size(); ++s) {
      print(text, "  stage %zu:", s);
      text += order_text(replica.instructions[s]) + "\n";
    }
  }
  return text + "hash " + plan_hash(plan) + "\n";
}

Plan make_plan(const GoldenCase& c) {
  PlanContext context;
  context.profile =
      read_profile(INFINIPIPE_GOLDEN "/../../profiles/llama-" + c.model + "-a800.json");
  context.layers = c.layers;
  context.parallelism = {
      .stages = c.stages, .sequence_parallel = 8, .data_parallel = c.data_parallel};
  context.bytes_per_stage = c.bytes_per_stage;
  context.config.name = c.planner;
  const Bytes limit =
      c.bytes_per_stage > 0.0 ? c.bytes_per_stage : context.profile.device_memory_bytes;
  PlanRequest request;
  request.sequences = c.sequences;
  request.forward_only = c.forward_only;
  return make_planner(context, std::make_shared<SimulatorEvaluator>(limit))->plan(request);
}

class GoldenPlans : public ::testing::TestWithParam<GoldenCase> {};

TEST_P(GoldenPlans, AreAsReviewed) {
  const std::string path = INFINIPIPE_GOLDEN "/plans/" + GetParam().name + ".txt";
  const std::string text = plan_text(GetParam(), make_plan(GetParam()));
  EXPECT_LT(text.size(), 10240U) << "too long for a review";
  if (std::getenv("INFINIPIPE_UPDATE_GOLDEN") != nullptr) {
    write_file(path, text);
    return;
  }
  EXPECT_EQ(text, read_file(path))
      << "if the change is meant, INFINIPIPE_UPDATE_GOLDEN=1 rewrites the file";
}

INSTANTIATE_TEST_SUITE_P(All, GoldenPlans, ::testing::ValuesIn(golden_cases()),
                         [](const auto& named) { return named.param.name; });

}  // namespace
}  // namespace infinipipe
