// Estimates of GPUs by name: profiles like any other, in proportion to what is published, and near
// what others published or measured of the same cards.
#include "cost/named_estimate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/random.h"
#include "core/gpus.h"
#include "core/layer_costs.h"
#include "infinipipe/base/error.h"
#include "infinipipe/cost/cost_model.h"
#include "support/doc_table.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

std::string name_of(const GpuRow& gpu) { return std::string(kEstimate) + ":" + gpu.name; }

std::string refusal(const std::string& name, Dtype dtype = Dtype::kBfloat16) {
  try {
    named_estimate(ModelSpec{}, dtype, name);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

// All layers and the head, on one device: a chunk of one whole sequence, forward and backward.
Seconds training_seconds(const Profile& p, double tokens) {
  const auto direction = [&](const DirectionCost& cost) {
    return cost.seconds_per_token2 * tokens * tokens + cost.seconds_per_token * tokens +
           cost.seconds_per_chunk + cost.seconds_per_slice;
  };
  return direction(p.forward) + direction(p.backward) +
         (p.head.forward_seconds_per_token + p.head.backward_seconds_per_token) * tokens;
}

TEST(NamedEstimate, TheWordAloneIsTheEstimateFromFlops) {
  const ModelSpec model;
  EXPECT_EQ(profile_hash(named_estimate(model, Dtype::kFloat32, std::string(kEstimate))),
            profile_hash(estimated_profile(model, Dtype::kFloat32)));
  EXPECT_TRUE(is_estimate("estimate"));
  EXPECT_TRUE(is_estimate("estimate:"));
  for (const char* file : {"", "estimates.json", "./estimate", "h100", "my-estimate:h100"})
    EXPECT_FALSE(is_estimate(file)) << file;
}

TEST(NamedEstimate, OthersAreRefusedWithAllNames) {
  EXPECT_EQ(refusal("estimate:mi300x"),
            "config: cluster.profile: found estimate of 'mi300x', expected h100, a100, h200, b200, "
            "4090, a10 or l40s");
  EXPECT_THAT(refusal("estimate:h10"), HasSubstr("did you mean h100?"));
  EXPECT_THAT(refusal("estimate:"), HasSubstr("found estimate of ''"));
  EXPECT_THAT(refusal("estimate:h100", Dtype::kFloat64),
              HasSubstr("training.dtype: found float64"));
}

TEST(NamedEstimate, GpusAreThoseOfTheDocs) {
  EXPECT_EQ(testing::doc_table("profile.md", "GPU"), testing::doc_rows(kGpus));
}

// Of any model and any card: a profile that can be written, read and planned with, whose training
// keeps below the card's peak, and which says that nothing was measured.
TEST(NamedEstimate, IsAProfileLikeAnyOther) {
  Random random(17);
  for (const std::string& preset : model_preset_names()) {
    ModelSpec model = model_preset(preset);
    model.num_hidden_layers = random.between(1, 80);
    for (const GpuRow& gpu : kGpus) {
      const Profile made = named_estimate(model, Dtype::kBfloat16, name_of(gpu));
      const Profile read = profile_from_json(profile_to_json(made), preset);
      EXPECT_EQ(profile_hash(read), profile_hash(made));
      EXPECT_EQ(made.source, "estimated");
      EXPECT_THAT(made.machine, HasSubstr("nothing was measured"));
      EXPECT_EQ(made.known_levels().size(), kRemadeLevels);
      EXPECT_LT(made.device_memory_bytes, gpu.memory_bytes);
      EXPECT_GT(made.device_memory_bytes, 0.8 * gpu.memory_bytes);
      const CostModel cost(made, {1, 8, 1}, {{0, static_cast<int>(model.num_hidden_layers)}});
      EXPECT_GT(cost.state_bytes(StageId(0)), 0.0);
      for (const Tokens tokens : {Tokens{256}, Tokens{8192}, Tokens{131072}}) {
        const double mfu = training_flops(model, std::vector<Tokens>{tokens}) /
                           training_seconds(made, static_cast<double>(tokens)) / gpu.peak;
        EXPECT_LT(mfu, 0.95) << preset << " on " << gpu.name << ", " << tokens;
        EXPECT_GT(mfu, 0.001) << preset << " on " << gpu.name << ", " << tokens;
      }
      const Profile wide = named_estimate(model, Dtype::kFloat32, name_of(gpu));
      EXPECT_GT(training_seconds(wide, 8192), training_seconds(made, 8192));
      for (std::size_t i = 0; i < kRemadeLevels; ++i) {
        const DirectionCost& again = made.remake[i]->cost;
        EXPECT_LT(again.seconds_per_token, made.forward.seconds_per_token);
        EXPECT_EQ(again.seconds_per_token2 > 0.0, kKeepLevels[i].attends_again);
      }
    }
  }
}

TEST(NamedEstimate, GpuRowsAreBelowTheirDataSheets) {
  for (const GpuRow& gpu : kGpus) {
    for (const double rate : {gpu.matmul, gpu.attention_forward, gpu.attention_backward})
      EXPECT_LT(rate, gpu.peak) << gpu.name;
    EXPECT_GE(gpu.attention_forward, gpu.attention_backward) << gpu.name;
    EXPECT_LT(gpu.float32, gpu.matmul) << gpu.name;
    EXPECT_LT(gpu.network, gpu.link) << gpu.name;
    EXPECT_GT(gpu.error, 0.0) << gpu.name;
    EXPECT_LE(gpu.error, 0.5) << gpu.name;
  }
}

// More cards on the fast links, or fewer on the network, never make an exchange slower in all.
TEST(NamedEstimate, ExchangesTakeTheSlowestLink) {
  for (const GpuRow& gpu : kGpus) {
    const LinkCost links = named_estimate(ModelSpec{}, Dtype::kBfloat16, name_of(gpu)).links;
    for (const auto& [degree, rate] : links.all_to_all) {
      const double inside = std::min(8.0, static_cast<double>(degree));
      EXPECT_NEAR(rate,
                  degree <= 8 ? gpu.link * degree / (degree - 1.0)
                              : gpu.network * degree / (degree - inside),
                  1.0)
          << gpu.name << ", " << degree;
      EXPECT_EQ(links.all_gather.at(degree), degree <= 8 ? gpu.link : gpu.network);
    }
  }
}

// The files under profiles/ are of A100s (or A800s, which compute alike): one a fit to measured
// steps, the others analytic, at 62% of the peak where we have 70%.
TEST(NamedEstimate, IsNearGivenProfilesOfTheSameCard) {
  const GpuRow* const gpu = estimated_gpu("estimate:a100");
  ASSERT_NE(gpu, nullptr);
  struct Given {
    const char* file;
    const char* preset;
  };
  for (const Given& given : {Given{"gpt-6.7b-a100-40gb", "7b"},
                             {"llama-7b-a800", "7b"},
                             {"llama3-8b-a800-measured-exchange", "8b"},
                             {"llama-13b-a800", "13b"},
                             {"llama-30b-a800", "30b"}}) {
    const Profile theirs =
        read_profile(std::string(INFINIPIPE_TEST_DATA) + "/../../profiles/" + given.file + ".json");
    const Profile ours =
        named_estimate(model_preset(given.preset), Dtype::kBfloat16, name_of(*gpu));
    ASSERT_EQ(ours.model.num_hidden_layers, theirs.model.num_hidden_layers);
    const auto step = [](const Profile& p, double DirectionCost::*cost) {
      return p.forward.*cost + p.backward.*cost;
    };
    const double token = step(ours, &DirectionCost::seconds_per_token) /
                         step(theirs, &DirectionCost::seconds_per_token);
    const double token2 = step(ours, &DirectionCost::seconds_per_token2) /
                          step(theirs, &DirectionCost::seconds_per_token2);
    EXPECT_NEAR(token, 1.0, gpu->error) << given.file;
    EXPECT_NEAR(token2, 1.0, gpu->error) << given.file;
    std::printf("%s: %.2f of its seconds a token, %.2f a token^2\n", given.file, token, token2);
  }
}

}  // namespace
}  // namespace infinipipe
