// The passkey test: its texts, and its losses against plain logits.
#include "trainer/needle.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "system/training/fixture.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

class NeedleTest : public TrainingTest {
 protected:
  std::string text_of(const NeedleText& text) const {
    return tokenizer_->decode({text.tokens.data(), text.tokens.size()});
  }
  std::unique_ptr<Tokenizer> tokenizer_ = make_tokenizer("byte");
};

TEST_F(NeedleTest, TextsHaveTheirLengthAndTheSentenceAtItsDepth) {
  const IndexedDataset dataset(folder_ + "/data");
  const NeedleMaker maker(*tokenizer_, dataset, 1000, 2);
  for (const int trial : {0, 1}) {
    std::string before;
    for (const double depth : {0.0, 0.3, 1.0}) {
      const NeedleText made = maker.make(1000, depth, trial, true);
      ASSERT_EQ(made.tokens.size(), 1000U);
      const std::string text = text_of(made);
      const std::string key = text.substr(made.answer + 1);
      EXPECT_EQ(text[made.answer], ' ');
      EXPECT_EQ(key.size(), 5U);
      const std::string sentence =
          "\nThe pass key is " + key + ". Remember it. " + key + " is the pass key.\n";
      const std::string question = "\nWhat is the pass key? The pass key is";
      EXPECT_EQ(text.substr(made.answer - question.size(), question.size()), question);
      const std::size_t filler = 1000 - sentence.size() - question.size() - 6;
      EXPECT_EQ(text.find(sentence), std::llround(depth * static_cast<double>(filler)));
      std::string rest = text;
      rest.erase(text.find(sentence), sentence.size());
      if (!before.empty()) {
        EXPECT_EQ(rest, before) << "the same text around it";
      }
      before = rest;
    }
    const std::string without = text_of(maker.make(1000, 0.0, trial, false));
    EXPECT_EQ(without.find("Remember"), std::string::npos);
    EXPECT_EQ(without.size(), 1000U);
  }
  EXPECT_NE(text_of(maker.make(1000, 0.0, 0, false)), text_of(maker.make(1000, 0.0, 1, false)));
  EXPECT_NO_THROW(maker.make(maker.shortest(), 0.5, 0, true));
}

TEST_F(NeedleTest, LossesAreThoseOfPlainLogits) {
  const TrainConfig c = config();
  run(c);
  EvalOptions options;
  options.checkpoint = c.checkpoint.path;
  options.needle_grid = 8;  // 64 has no room
  options.needle_trials = 2;
  const NeedleLosses found = *evaluate(options).needle;
  EXPECT_EQ(found.lengths, (std::vector<Tokens>{128, 192, 256, 320, 384, 448, 512}));
  ASSERT_EQ(found.depths.size(), 8U);

  const IndexedDataset dataset(c.data.path);
  const NeedleMaker maker(*tokenizer_, dataset, c.data.max_sequence_length, 2);
  const auto engine = engine_of(find_checkpoint(c.checkpoint.path), c.model, {LayerRange{0, 4}});
  const auto reference = [&](Tokens length, double depth, bool with) {
    double sum = 0.0;
    for (const int trial : {0, 1}) {
      const NeedleText text = maker.make(length, depth, trial, with);
      const at::Tensor losses = -engine->all_logits(text.tokens).to(at::kDouble).log_softmax(1);
      double mine = 0.0;
      for (std::size_t at = text.answer; at < text.tokens.size(); ++at) {
        mine += losses[static_cast<std::int64_t>(at) - 1][text.tokens[at]].item<double>();
      }
      sum += mine / static_cast<double>(text.tokens.size() - text.answer);
    }
    return sum / 2.0;
  };
  for (const std::size_t i : {0U, 6U}) {
    EXPECT_NEAR(found.loss[i][2], reference(found.lengths[i], 2.0 / 7.0, true), 1e-4);
    EXPECT_NEAR(found.without[i], reference(found.lengths[i], 0.0, false), 1e-4);
  }
  options.configure = [](TrainConfig base) {
    base.data.max_sequence_length = 50;
    return base;
  };
  try {
    evaluate(options);
    FAIL() << "50 tokens have no room for the needle";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("data.max_sequence_length"));
  }
}

}  // namespace
}  // namespace infinipipe
