// Files that version 0.1 wrote still load: a checkpoint of three steps, a measured profile, and a
// plan made with that profile (tests/data/version_0_1).
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "infinipipe/core/plan_json.h"
#include "infinipipe/core/validate.h"
#include "infinipipe/cost/cost_model.h"
#include "infinipipe/cost/profile.h"
#include "infinipipe/sim/simulator.h"
#include "system/training/fixture.h"

namespace infinipipe {
namespace {

const std::string kFiles = INFINIPIPE_TEST_DATA "/version_0_1";

TEST(OlderFiles, AProfileSaysWhatItSaid) {
  const Profile profile = read_profile(kFiles + "/profile.json");
  EXPECT_EQ(profile.source, "measured");
  EXPECT_TRUE(profile.knows(Keep::kAttention));
  EXPECT_TRUE(profile.memory.layerwise.has_value());
  EXPECT_EQ(profile_to_json(profile), read_json_file(kFiles + "/profile.json"));
}

// The hash in the file fits what is read, and the prediction is the one that was written.
TEST(OlderFiles, APlanIsReadValidAndPredictedAsItWas) {
  const Plan plan = read_plan(kFiles + "/plan.json");
  EXPECT_EQ(validate(plan), std::nullopt);
  EXPECT_GT(plan.recomputed().by_level[index_of(Keep::kAttention)], 0);
  const CostModel cost = plan_cost(read_profile(kFiles + "/profile.json"), plan);
  EXPECT_EQ(profile_hash(read_profile(kFiles + "/profile.json")), plan.profile_hash);
  EXPECT_DOUBLE_EQ(simulate(plan, cost).prediction.seconds, plan.predicted->seconds);
}

// Resuming writes into the folder, so it works on a copy.
TEST_F(TrainingTest, ACheckpointOfVersion01EvaluatesAndTrainsOn) {
  write_corpus(6, 1);  // as many documents as the run had, or its sampler would not go on
  const std::string checkpoint = folder_ + "/checkpoint";
  std::filesystem::copy(kFiles + "/checkpoint", checkpoint,
                        std::filesystem::copy_options::recursive);
  EvalOptions evaluation;
  evaluation.checkpoint = checkpoint;
  evaluation.data = folder_ + "/data";
  const EvalResult evaluated = evaluate(evaluation);
  EXPECT_EQ(evaluated.next_step, 3);
  EXPECT_NEAR(evaluated.loss, std::log(257.0), 0.1) << "hardly trained";

  TrainOptions options;
  options.resume = true;
  options.configure = [&](TrainConfig config) {
    config.training.steps = 5;
    config.data.path = folder_ + "/data";
    config.checkpoint.path = checkpoint;
    config.metrics.path = folder_ + "/metrics.jsonl";
    return config;
  };
  options.config = options.configure({});
  const Said said = listen(options);
  EXPECT_EQ(said.error, "");
  EXPECT_EQ(said.result.steps_done, 2);
  EXPECT_EQ(said.result.next_step, 5);
}

}  // namespace
}  // namespace infinipipe
