#include "profile/group_samples.h"

#include <gtest/gtest.h>

namespace infinipipe {
namespace {

// Four layers on two stages, 80 bytes a token and layer in each direction.
Profile profile_of_exchanges() {
  Profile profile;
  profile.links.all_to_all_bytes_per_token = 4 * 80.0;
  profile.memory.kv_bytes_per_token = 20.0;
  return profile;
}
const std::vector<LayerRange> kStages = {{0, 1}, {1, 4}};

InstructionSample sample(int stage, Op op, Tokens tokens, Seconds seconds, Seconds exchange) {
  InstructionSample one;
  one.stage = StageId(stage);
  one.op = op;
  one.shape.tokens = tokens;
  one.shape.token2 = static_cast<double>(tokens * tokens);
  one.shape.context = 10;
  one.shape.cut_tokens = 9;
  one.shape.slices = 3;
  one.seconds = seconds;
  one.exchange_seconds = exchange;
  return one;
}

TEST(ExchangeRate, IsADevicesBytesOverTheSecondsOfItsExchanges) {
  const std::vector<InstructionSample> samples = {sample(0, Op::kForward, 100, 9.0, 0.5),
                                                  sample(1, Op::kInputGrad, 50, 9.0, 1.5),
                                                  sample(1, Op::kWeightGrad, 50, 9.0, 0.0)};
  // 1 layer x 80 x 100 / 2 and 3 layers x 80 x 50 / 2.
  EXPECT_DOUBLE_EQ(exchange_rate(samples, kStages, profile_of_exchanges(), 2),
                   (4000.0 + 6000.0) / 2.0);
  EXPECT_EQ(exchange_rate({}, kStages, profile_of_exchanges(), 2), 0.0);
}

TEST(OfOneDevice, HasItsPartOfTheChunkAndNoExchanges) {
  Profile profile = profile_of_exchanges();
  profile.links.all_to_all[2] = 8000.0;
  std::vector<InstructionSample> samples = {sample(1, Op::kBackward, 101, 9.0, 0.5),
                                            sample(0, Op::kForward, 1, 9.0, 0.5)};
  samples[0].keeping = Keeping::of(Keep::kInput, 2);
  samples[0].recompute_seconds = 3.0;
  const auto own = of_one_device(samples, kStages, profile, 2);
  ASSERT_EQ(own.size(), 1U) << "a chunk with fewer tokens than shards says nothing";
  EXPECT_DOUBLE_EQ(own[0].seconds, 8.5);
  EXPECT_DOUBLE_EQ(own[0].recompute_seconds, 3.0 - 2 * 80.0 * 101 / 2 / 8000.0);
  EXPECT_EQ(own[0].shape.tokens, 50);
  EXPECT_DOUBLE_EQ(own[0].shape.token2, 101.0 * 101.0 / 2);
  EXPECT_EQ(own[0].shape.context, 5);
  EXPECT_EQ(own[0].shape.cut_tokens, 4);
  EXPECT_EQ(own[0].shape.slices, 3);
  EXPECT_EQ(of_one_device(samples, kStages, profile, 1).size(), 2U);
}

}  // namespace
}  // namespace infinipipe
