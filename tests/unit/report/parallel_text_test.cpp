#include "report/parallel_text.h"

#include <gtest/gtest.h>

namespace infinipipe {
namespace {

ParallelOption option(const Parallelism& parallelism, const std::vector<int>& layers) {
  ParallelOption result;
  result.parallelism = parallelism;
  int begin = 0;
  for (const int n : layers) {
    result.stages.push_back({begin, begin + n});
    begin += n;
  }
  result.feasible = true;
  result.note = "fastest";
  result.seconds = 10.0;
  result.lower_bound = 9.5;
  result.compute = 8.0;
  result.recompute = 1.0;
  result.wait = 0.75;
  result.gathers = 0.25;
  result.bubble = 0.0769;
  result.tokens_per_second = 123456.7;
  result.peak_bytes = 3e9;
  return result;
}

TEST(ParallelText, TellsTheChoiceTheOthersAndWhatIsNotPossible) {
  ParallelChoice choice;
  choice.devices = 32;
  choice.batches = 2;
  choice.tokens = 2469134;
  choice.bytes_per_device = 8e9;
  choice.options.push_back(option({4, 8, 1}, {9, 9, 8, 6}));
  choice.options.push_back(option({16, 2, 1}, std::vector<int>(16, 2)));
  choice.options.back().note = "+10.0%: +1.00 s waiting";
  choice.options.back().gathers = 0.0;
  choice.options.push_back({.parallelism = {1, 32, 1},
                            .stages = {},
                            .note = "plan: stage 0 needs 9 GiB of 8 GiB (states), a batch that "
                                    "fits; raise memory"});
  choice.options.push_back({.parallelism = {2, 16, 1},
                            .stages = {},
                            .note = "profile: links.all_to_all: found no degree 16, expected its "
                                    "bytes per second"});
  EXPECT_EQ(
      parallel_text(choice),
      "devices: 32 of 7.5 GiB; sample: 2 steps, 2,469,134 tokens\n"
      "chosen: 4 stages x sequence parallel 8 x data parallel 1, layers 9+9+8+6\n"
      "\n"
      "  PP x SP x DP   layers     step  at least  tokens/s  bubble  recompute   outside     "
      "peak  note\n"
      "     4 x 8 x 1  9+9+8+6  10.00 s    9.50 s   123,456    7.7%      10.0%  250.0 ms  2.8 "
      "GiB  fastest\n"
      "    16 x 2 x 1   2 each  10.00 s    9.50 s   123,456    7.7%      10.0%         -  2.8 "
      "GiB  +10.0%: +1.00 s waiting\n"
      "\n"
      "not possible:\n"
      "  1 x 32 x 1: stage 0 needs 9 GiB of 8 GiB\n"
      "  2 x 16 x 1: profile: links.all_to_all: found no degree 16\n");
}

TEST(ParallelText, NothingPossible) {
  ParallelChoice choice;
  choice.devices = 1;
  choice.batches = 1;
  choice.options.push_back({.parallelism = {1, 1, 1}, .stages = {}, .note = "plan: too much; x"});
  EXPECT_EQ(parallel_text(choice),
            "devices: 1; sample: 1 step, 0 tokens\n"
            "chosen: none, no layout is possible\n"
            "\n"
            "not possible:\n"
            "  1 x 1 x 1: too much\n");
}

}  // namespace
}  // namespace infinipipe
