// What a run draws from: several sets with weights, long documents, batches by tokens.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "system/training/fixture.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

class DataTest : public TrainingTest {
 protected:
  void SetUp() override {
    TrainingTest::SetUp();
    write_corpus(15, 9);
    rename_set("data", "books");
    write_corpus(40, 1);
  }
  void rename_set(const std::string& from, const std::string& to) const {
    for (const char* suffix : {".bin", ".idx"}) {
      fs::rename(folder_ + "/" + from + suffix, folder_ + "/" + to + suffix);
    }
  }
  std::string sets(const std::string& weight, const std::string& other) const {
    return folder_ + "/data:" + weight + "," + folder_ + "/books:" + other;
  }
  TrainConfig two_sets() const {
    TrainConfig c = config();
    c.data.path = sets("0.7", "0.3");
    c.training.steps = 3;
    return c;
  }
  // By tokens, with documents in parts.
  TrainConfig two_sets_by_tokens() const {
    TrainConfig c = two_sets();
    c.data.max_sequence_length = 100;
    c.data.long_documents = LongDocuments::kSplit;
    c.training.tokens_per_step = 400;
    return c;
  }
  // What a run to its 7th step leaves behind.
  std::vector<std::string> result(TrainConfig c, bool resume) const {
    c.training.steps = 7;
    run(c, resume);
    std::vector<std::string> all;
    const std::string folder = folder_ + "/checkpoints/step-000007/";
    for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
      all.push_back(read_file(folder + file));
    }
    const Json manifest = read_json_file(folder + "manifest.json");
    all.push_back(manifest["sampler"].dump());
    all.push_back(manifest["data"].dump());
    for (const Json& line : metrics_lines()) {
      all.push_back(line["loss"].dump() + line["epochs"].dump() + line["plan_hash"].dump());
    }
    return all;
  }
  std::string refusal(const TrainConfig& c) const {
    TrainConfig longer = c;
    longer.training.steps = 5;
    return listen(options_of(longer, true)).error;
  }
};

TEST_F(DataTest, TwoSetsGoOnAsIfUnbroken) {
  for (const TrainConfig& c : {two_sets(), two_sets_by_tokens()}) {
    const std::vector<std::string> unbroken = result(c, false);
    ASSERT_EQ(unbroken.size(), 4U + 7U);
    fs::remove_all(folder_ + "/checkpoints");
    run(c);
    EXPECT_TRUE(result(c, true) == unbroken);
  }
}

TEST_F(DataTest, MetricsSayHowOftenEachSetWasGoneThrough) {
  const std::vector<StepMetrics> by_documents = run(two_sets());
  ASSERT_EQ(by_documents.back().epochs.size(), 2U);  // 18 documents: 13 of 40, and 5 of 15
  EXPECT_DOUBLE_EQ(by_documents.back().epochs[0], 13.0 / 40.0);
  EXPECT_DOUBLE_EQ(by_documents.back().epochs[1], 5.0 / 15.0);

  int split = 0;
  for (const StepMetrics& step : run(two_sets_by_tokens())) {
    EXPECT_LE(step.tokens, 400);
    EXPECT_GT(step.sequences, 1);
    EXPECT_EQ(step.truncated_sequences + step.dropped_documents, 0);
    split += step.split_sequences;
  }
  EXPECT_GT(split, 0);

  TrainConfig dropping = two_sets();
  dropping.data.max_sequence_length = 100;
  dropping.data.long_documents = LongDocuments::kDrop;
  for (const StepMetrics& step : run(dropping)) {
    EXPECT_EQ(step.dropped_documents, 6 + 3) << "every seventh of each set is long";
    EXPECT_EQ(step.truncated_sequences + step.split_sequences, 0);
  }
}

TEST_F(DataTest, AStartSaysWhatTheDataIs) {
  const Said said = listen(options_of(two_sets_by_tokens()));
  EXPECT_EQ(said.error, "");
  EXPECT_THAT(said.log, Contains(AllOf(HasSubstr("data: 40 documents, "),
                                       HasSubstr("70% of what is drawn; about "),
                                       HasSubstr(" steps an epoch"))));
  EXPECT_THAT(said.log, Contains(AllOf(HasSubstr("books: 15 documents, "),
                                       HasSubstr("30% of what is drawn; about "))));
  EXPECT_THAT(said.log, Contains(AllOf(HasSubstr("9 documents of over 100 tokens are split into"),
                                       HasSubstr("data.long_documents = split"))));
  EXPECT_THAT(said.log, Contains(HasSubstr("up to 400 tokens (training.tokens_per_step")));
}

TEST_F(DataTest, AnotherBlendIsRefused) {
  TrainConfig c = two_sets();
  run(c);
  const auto refused = HasSubstr("config: data.path: found");
  c.data.path = sets("0.6", "0.4");
  EXPECT_THAT(refusal(c), AllOf(refused, HasSubstr("data:0.6,"), HasSubstr("data:0.7,")));
  c.data.path = folder_ + "/data";
  EXPECT_THAT(refusal(c), refused);
  c.data.path = folder_ + "/books:0.3," + folder_ + "/data:0.7";
  EXPECT_THAT(refusal(c), refused);

  rename_set("books", "moved");
  c.data.path = "7 " + folder_ + "/data 3 " + folder_ + "/moved";
  c.training.steps = 5;
  const Said said = listen(options_of(c, true));
  EXPECT_EQ(said.error, "") << "the ratios and the sets are the same";
  EXPECT_TRUE(said.warnings.empty());
  EXPECT_THAT(said.log, Contains(HasSubstr("other than in the checkpoint: data.path")));
}

// Sets of one size and weight: nothing but what is in them tells them apart.
TEST_F(DataTest, SetsInAnotherOrderAreRefusedAndAnotherSetIsSaid) {
  write_corpus(40, 2);
  rename_set("data", "other");
  write_corpus(40, 1);
  TrainConfig c = config();
  c.training.steps = 3;
  c.data.path = folder_ + "/data:1," + folder_ + "/other:1";
  run(c);
  c.data.path = folder_ + "/other:1," + folder_ + "/data:1";
  EXPECT_THAT(refusal(c), AllOf(HasSubstr("config: data.path: found "),
                                HasSubstr("other as set 1, expected it as set 2 as in ")));
  write_corpus(40, 3);
  c.data.path = folder_ + "/data:1," + folder_ + "/other:1";
  c.training.steps = 5;
  const Said said = listen(options_of(c, true));
  EXPECT_EQ(said.error, "");
  ASSERT_EQ(said.warnings.size(), 1U);
  EXPECT_THAT(said.warnings[0], HasSubstr("data is another data set than"));
}

TEST_F(DataTest, AnotherWayOfMakingBatchesIsRefused) {
  run(two_sets_by_tokens());
  TrainConfig c = two_sets_by_tokens();
  c.data.long_documents = LongDocuments::kCut;
  EXPECT_THAT(refusal(c), HasSubstr("config: data.long_documents: found cut, expected split"));
  c = two_sets_by_tokens();
  c.training.tokens_per_step = 0;
  EXPECT_THAT(refusal(c), HasSubstr("config: training.tokens_per_step: found 0, expected 400"));
  c = two_sets_by_tokens();
  c.data.max_sequence_length = 101;
  EXPECT_THAT(refusal(c), HasSubstr("config: data.max_sequence_length: found 101, expected 100"));
}

TEST_F(DataTest, WeightsGoOnWithAnyData) {
  run(config());
  TrainConfig c = two_sets_by_tokens();
  set_config(c, "model.from", folder_ + "/checkpoints", "test");
  c.checkpoint.path = folder_ + "/second";
  const Said said = listen(options_of(c));
  EXPECT_EQ(said.error, "");
  EXPECT_EQ(said.result.steps_done, 3);
}

TEST_F(DataTest, AnEvaluationWantsOneSet) {
  run(two_sets());
  EvalOptions options;
  options.checkpoint = folder_ + "/checkpoints";
  try {
    evaluate(options);
    ADD_FAILURE() << "accepted";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("eval: --data: found 2 sets, "));
  }
  options.data = folder_ + "/books";
  EXPECT_EQ(evaluate(options).sequences, 15);
}

}  // namespace
}  // namespace infinipipe
