// A text that grows token by token, over kept keys and values.
#include <gtest/gtest.h>

#include "support/engine_case.h"

namespace infinipipe::testing {
namespace {

// The logits after some tokens of a growing text against those of the whole text as one chunk.
void grows_as_if_whole(const ModelSpec& model, const std::vector<LayerRange>& stages) {
  Engine::Options options;
  options.model = model;
  options.dtype = Dtype::kFloat64;
  options.check_messages = true;
  options.stages = stages;
  Engine engine(options);
  Random random(4);
  std::vector<std::int64_t> tokens;
  for (int i = 0; i < 230; ++i) tokens.push_back(random.between(0, model.vocab_size - 1));
  for (int text = 0; text < 2; ++text) {  // the second as if there had been no first
    std::vector<std::int64_t> so_far(tokens.begin(), tokens.begin() + 40);
    at::Tensor found = engine.continue_text(so_far);
    for (std::size_t i = 40; i < tokens.size(); ++i) {  // beyond where blocks are joined
      so_far.push_back(tokens[i]);
      found = engine.continue_text({tokens[i]});
      if (i % 37 != 0) continue;
      Engine fresh(options);
      const at::Tensor expected = fresh.all_logits(so_far).select(0, -1);
      EXPECT_LE((found - expected).abs().max().item<double>(), 1e-12) << i;
    }
    engine.end_text();
  }
  EXPECT_EQ(engine.all_logits(tokens).size(0), 230);  // nothing of the text is left
}

TEST(Text, GrowsAsIfItWereRunWhole) {
  ModelSpec model = small_model(4);
  model.family = ModelFamily::kQwen3;
  grows_as_if_whole(model, {{0, 4}});
  grows_as_if_whole(model, {{0, 1}, {1, 4}});
  for (const std::int64_t window : {1, 30, 100}) {
    model.sliding_window = window;
    grows_as_if_whole(model, {{0, 4}});
  }
}

}  // namespace
}  // namespace infinipipe::testing
