#include "trainer/setup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

TEST(EngineOptions, HoldWhatTheConfigurationSays) {
  TrainConfig config;
  config.model.num_hidden_layers = 5;
  config.training.dtype = Dtype::kBfloat16;
  config.training.steps = 77;
  config.training.seed = 9;
  config.optimizer.lr = 0.5;
  config.parallelism.data_parallel = 2;
  config.runtime.threads_per_stage = 3;
  config.runtime.pooled_allocator = false;
  const Engine::Options options = make_engine_options(config, {{0, 2}, {2, 5}}, nullptr);
  EXPECT_EQ(options.model.num_hidden_layers, 5);
  EXPECT_EQ(options.stages, (std::vector<LayerRange>{{0, 2}, {2, 5}}));
  EXPECT_EQ(options.replicas, 2);
  EXPECT_EQ(options.dtype, Dtype::kBfloat16);
  EXPECT_EQ(options.device, Device::kCpu);
  EXPECT_EQ(options.total_steps, 77);
  EXPECT_EQ(options.seed, 9);
  EXPECT_EQ(options.optimizer.lr, 0.5);
  EXPECT_EQ(options.threads_per_stage, 3);
  EXPECT_FALSE(options.pooled_allocator);
}

TEST(EngineOptions, RefuseACommunicatorThatIsNotThere) {
  TrainConfig config;
  config.runtime.communicator = CommunicatorKind::kNccl;
  try {
    make_engine_options(config, {{0, 4}}, nullptr);
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("runtime.communicator: found nccl in a process that is alone"));
  }
}

TEST(EngineOptions, RefuseShardsThatCannotShareTheHeads) {
  TrainConfig config;
  config.parallelism.sequence_parallel = 8;
  try {
    make_engine_options(config, {{0, 4}}, nullptr);
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_THAT(
        error.what(),
        HasSubstr("parallelism.sequence_parallel: 8 devices cannot share 4 attention heads, "
                  "expected one of 1 to 4"));
  }
}

// Said before weights are made and a profile is measured.
TEST(EngineOptions, RefuseWhatAttentionOnAGpuCannotDo) {
  const auto refusal = [](const std::function<void(TrainConfig&)>& change) -> std::string {
    TrainConfig config;
    config.runtime.device = Device::kCuda;
    change(config);
    try {
      require_runnable(config, nullptr);
      return {};
    } catch (const InputError& error) {
      return error.what();
    }
  };
  EXPECT_EQ(refusal([](TrainConfig&) {}), "");
  EXPECT_THAT(refusal([](TrainConfig& c) { c.training.dtype = Dtype::kFloat64; }),
              HasSubstr("training.dtype: found float64 on a GPU, expected "));
  EXPECT_THAT(refusal([](TrainConfig& c) { c.model.head_dim = 20; }),
              HasSubstr("model.head_dim: found 20 on a GPU, expected a multiple of 8 up to 256"));
  EXPECT_THAT(refusal([](TrainConfig& c) { c.model.head_dim = 264; }), HasSubstr("found 264"));
}

TEST(SharedGpus, AreSaidWhereStagesHaveNoneOfTheirOwn) {
  EXPECT_EQ(shared_gpus(4, 4), "");
  EXPECT_EQ(shared_gpus(4, 0), "");  // refused elsewhere
  EXPECT_THAT(shared_gpus(4, 2), HasSubstr("4 stages share 2 GPU(s)"));
}

TEST(ScatteredShards, AreNamedWithTheirHosts) {
  const RankLayout layout{2, 1, 2};
  EXPECT_EQ(scattered_shards(layout, {"a", "a", "b", "b"}), "");
  EXPECT_EQ(scattered_shards({2, 2}, {"a", "b", "a", "b"}), "") << "nobody shares a stage";
  EXPECT_THAT(scattered_shards(layout, {"a", "a", "a", "b"}),
              HasSubstr("the 2 shards of stage 1 are on the hosts a and b and exchange"));
}

TEST(MatmulSpeed, IsMeasured) {
  TrainConfig config;
  EXPECT_GT(measured_matmul_flops(make_engine_options(config, {{0, 4}}, nullptr)), 0.0);
}

}  // namespace
}  // namespace infinipipe
