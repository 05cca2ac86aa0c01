#include "baselines/pipeline_1f1b.h"

#include <gtest/gtest.h>

namespace infinipipe {
namespace {

PipelineRun even(int stages, int chunks, Seconds message = 0.0) {
  return run_1f1b(
      stages, chunks,
      [](int, int) {
        return ChunkCost{1.0, 2.0, 10.0, 3.0};
      },
      [message](int) { return message; });
}

// The textbook: (chunks + stages - 1) x (forward + backward).
TEST(OneForwardOneBackward, EvenChunksTakeTheTextbookTime) {
  for (const int stages : {1, 2, 3, 4, 8}) {
    for (const int chunks : {1, 2, 4, 8, 20}) {
      const PipelineRun run = even(stages, chunks);
      EXPECT_NEAR(run.seconds, 3.0 * (chunks + stages - 1), 1e-9) << stages << " " << chunks;
      for (const Seconds busy : run.busy) EXPECT_NEAR(busy, 3.0 * chunks, 1e-9);
    }
  }
}

TEST(OneForwardOneBackward, EarlyStagesHoldMoreChunks) {
  const PipelineRun run = even(4, 8);
  // 4, 3, 2, 1 chunks in flight, and a backward's workspace.
  EXPECT_EQ(run.peak, (std::vector<Bytes>{43.0, 33.0, 23.0, 13.0}));
  EXPECT_EQ(even(4, 2).peak, (std::vector<Bytes>{23.0, 23.0, 23.0, 13.0}));
}

TEST(OneForwardOneBackward, MessagesDelayWhatWaitsForThem) {
  // One chunk: down and up three links.
  EXPECT_NEAR(even(4, 1, 0.5).seconds, 4 * 3.0 + 6 * 0.5, 1e-9);
  // A link carries one message at a time: with messages longer than chunks they set the pace.
  EXPECT_GT(even(2, 10, 5.0).seconds, 10 * 5.0);
}

TEST(OneForwardOneBackward, UnevenStagesWaitForTheSlowest) {
  const PipelineRun run = run_1f1b(
      3, 10,
      [](int stage, int) {
        return stage == 1 ? ChunkCost{2.0, 4.0, 0.0, 0.0} : ChunkCost{1.0, 2.0, 0.0, 0.0};
      },
      [](int) { return 0.0; });
  EXPECT_NEAR(run.busy[1], 60.0, 1e-9);
  EXPECT_NEAR(run.busy[0], 30.0, 1e-9);
  EXPECT_GE(run.seconds, 60.0 + 1.0 + 2.0);
  EXPECT_LT(run.seconds, 75.0);
}

TEST(OneForwardOneBackward, NoChunksTakeNoTime) {
  const PipelineRun run = even(3, 0);
  EXPECT_EQ(run.seconds, 0.0);
  EXPECT_EQ(run.peak, (std::vector<Bytes>{0.0, 0.0, 0.0}));
}

}  // namespace
}  // namespace infinipipe
