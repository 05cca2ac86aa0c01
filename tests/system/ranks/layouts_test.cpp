// Checkpoints that go from every layout of many ranks to every other, without a byte changed.
#include <ATen/ops/rand.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "comm/rank_layout.h"
#include "support/over_worlds.h"
#include "system/ranks/tensors.h"
#include "system/training/fixture.h"

namespace infinipipe {
namespace {

class LayoutsTest : public TrainingTest {
 protected:
  Engine::Options options(const RankLayout& layout, bool tied) const {
    Engine::Options options;
    options.model = config().model;
    options.model.tie_word_embeddings = tied;
    for (int p = 0; p < layout.stages; ++p)
      options.stages.push_back({p * 4 / layout.stages, (p + 1) * 4 / layout.stages});
    options.replicas = layout.replicas;
    options.shards = layout.shards;
    return options;
  }
  // Returns the checkpoint's folder.
  std::string save(Engine& engine, const std::string& name) const {
    TrainConfig c = config();
    c.model = engine.options().model;
    c.checkpoint.path = folder_ + "/" + name;
    return save_checkpoint(engine, c, 3, Json{{"step", 3}});
  }
  // Loads into a layout and saves from there.
  std::string carry(const std::string& folder, const RankLayout& to, bool tied,
                    const std::string& name) const {
    std::string saved;
    testing::over_worlds(options(to, tied), checkpoint_jobs(), [&](Engine& engine) {
      load_checkpoint(find_checkpoint(folder), engine, true);
      saved = save(engine, name);
    });
    return saved;
  }
};

TEST_F(LayoutsTest, LoadEachOthersCheckpointsByteForByte) {
  const std::vector<RankLayout> layouts = {{2, 1},    {4, 1},    {2, 2},   {1, 4},
                                           {2, 1, 2}, {1, 2, 2}, {1, 1, 2}};
  for (const bool tied : {false, true}) {
    const std::string kind = tied ? "tied-" : "plain-";
    std::string alone;
    {
      Engine engine(options({1, 1}, tied));
      for (const Engine::StateTensor& each : engine.state()) {
        const at::Tensor& master = each.parameter->master;
        engine.set_moments(each, {at::rand(master.sizes()), at::rand(master.sizes())});
      }
      engine.state_changed();
      alone = save(engine, kind + "alone");
    }
    const auto expected = testing::tensors_of(alone);
    ASSERT_GT(expected.size(), 3U * 4U);
    for (std::size_t i = 0; i < layouts.size(); ++i) {
      const std::string from = kind + std::to_string(i);
      const std::string first = carry(alone, layouts[i], tied, from);
      EXPECT_TRUE(testing::tensors_of(first) == expected) << from;
      for (std::size_t j = 0; j < layouts.size(); ++j) {
        const std::string both = from + "-" + std::to_string(j);
        EXPECT_TRUE(testing::tensors_of(carry(first, layouts[j], tied, both)) == expected) << both;
      }
    }
  }
}

}  // namespace
}  // namespace infinipipe
