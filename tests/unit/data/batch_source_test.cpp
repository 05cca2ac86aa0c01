#include "data/batch_source.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Ids = std::vector<std::int64_t>;

// Document d has lengths_[d] tokens: d, d + 1, d + 2, ...
class BatchSourceTest : public FolderTest {
 protected:
  IndexedDataset build() const {
    IndexedDatasetWriter writer(in("a"), TokenDtype::kInt32);
    for (std::size_t d = 0; d < lengths_.size(); ++d) {
      writer.append(tokens(static_cast<std::int64_t>(d), lengths_[d]));
      writer.end_document();
    }
    writer.finish();
    return IndexedDataset(in("a"));
  }
  static Ids tokens(std::int64_t document, std::int64_t count) {
    Ids ids(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) ids[static_cast<std::size_t>(i)] = document + i;
    return ids;
  }

  Corpus corpus(Tokens longest, LongDocuments choice = LongDocuments::kCut) const {
    build();
    DataConfig config;
    config.path = in("a");
    config.max_sequence_length = longest;
    config.long_documents = choice;
    return Corpus(config);
  }
  static TrainingConfig training(int sequences, std::int64_t seed, Tokens tokens = 0) {
    TrainingConfig config;
    config.sequences_per_step = sequences;
    config.seed = seed;
    config.tokens_per_step = tokens;
    return config;
  }

  Ids lengths_ = {5, 1, 12, 8, 3, 20, 10, 9, 2, 11};
};

TEST_F(BatchSourceTest, LoadsWhatTheSamplerSays) {
  const Corpus all = corpus(100);
  const Sampler sampler(10, 4, 3);
  const BatchSource source(all, training(4, 3), 100);
  for (int step = 0; step < 10; ++step) {
    const LoadedBatch batch = source.load(step);
    ASSERT_EQ(batch.documents, sampler.sample(step));
    ASSERT_EQ(batch.sequences.size(), 4U);
    const auto lengths = source.lengths(step);
    for (std::size_t i = 0; i < 4; ++i) {
      const std::int64_t d = batch.documents[i];
      EXPECT_EQ(batch.sequences[i], tokens(d, lengths_[static_cast<std::size_t>(d)]));
      EXPECT_EQ(lengths[i], lengths_[static_cast<std::size_t>(d)]);
    }
    EXPECT_EQ(batch.truncated_sequences, 0);
    EXPECT_EQ(batch.truncated_tokens, 0);
  }
}

TEST_F(BatchSourceTest, WeightsAreParallelToTheSequences) {
  IndexedDatasetWriter writer(in("b"), TokenDtype::kInt32);
  for (const std::int64_t length : lengths_) {  // loss from the middle on
    writer.append(Ids(static_cast<std::size_t>(length / 2), 1), false);
    writer.append(Ids(static_cast<std::size_t>(length - length / 2), 1));
    writer.end_document();
  }
  writer.finish();
  build();  // the other set has none: all of its tokens have loss
  DataConfig config;
  config.path = in("b") + ":1," + in("a") + ":1";
  config.max_sequence_length = 9;
  config.long_documents = LongDocuments::kSplit;
  const Corpus both(config);
  const LoadedBatch batch = BatchSource(both, training(20, 3), 100).load(1);
  ASSERT_EQ(batch.weights.size(), batch.sequences.size());
  for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
    const Corpus::Piece piece = both.piece(batch.documents[i]);
    ASSERT_EQ(batch.weights[i].size(), batch.sequences[i].size());
    for (std::size_t j = 0; j < batch.weights[i].size(); ++j) {
      const Tokens at = piece.begin + static_cast<Tokens>(j);
      const bool loss = piece.set == 1 || at >= piece.document_length / 2;
      EXPECT_EQ(batch.weights[i][j], loss ? 1.0F : 0.0F) << i << " " << j;
    }
  }
  const Corpus plain = corpus(9);
  EXPECT_THAT(BatchSource(plain, training(10, 3), 100).load(1).weights, IsEmpty());
}

TEST_F(BatchSourceTest, CutsAtTheCapAndCounts) {
  const Corpus all = corpus(9);
  const BatchSource source(all, training(10, 3), 100);  // a step is an epoch
  const LoadedBatch batch = source.load(2);
  EXPECT_EQ(batch.truncated_sequences, 4);  // 12, 20, 10, 11
  EXPECT_EQ(batch.truncated_tokens, 3 + 11 + 1 + 2);
  std::vector<Tokens> loaded;
  for (std::size_t i = 0; i < 10; ++i) {
    const std::int64_t d = batch.documents[i];
    EXPECT_EQ(batch.sequences[i],
              tokens(d, std::min<std::int64_t>(9, lengths_[static_cast<std::size_t>(d)])))
        << "the first tokens stay";
    loaded.push_back(static_cast<Tokens>(batch.sequences[i].size()));
  }
  EXPECT_EQ(source.lengths(2), loaded);
}

TEST_F(BatchSourceTest, EmptyDocumentsAreLeftOutAndCounted) {
  lengths_ = {0, 4, 0};
  const Corpus all = corpus(9);
  const BatchSource source(all, training(3, 1), 100);
  const LoadedBatch batch = source.load(0);
  EXPECT_THAT(batch.documents, ElementsAre(1));
  EXPECT_THAT(batch.sequences, ElementsAre(tokens(1, 4)));
  EXPECT_EQ(batch.empty_documents, 2);
  EXPECT_THAT(source.lengths(0), ElementsAre(4));
}

TEST_F(BatchSourceTest, PartsOfLongDocumentsAreCounted) {
  const Corpus all = corpus(9, LongDocuments::kSplit);
  const BatchSource source(all, training(15, 3), 100);  // an epoch: 6 whole, and 2 + 3 + 2 + 2
  const LoadedBatch batch = source.load(1);
  EXPECT_EQ(batch.split_sequences, 9);
  EXPECT_EQ(batch.truncated_sequences, 0);
  Tokens tokens = 0;
  for (const Tokens length : source.lengths(1)) tokens += length;
  EXPECT_EQ(tokens, 81) << "none is lost";
  EXPECT_THAT(error_of([&] { BatchSource(all, training(15, 3), 24).load(1); }),
              HasSubstr("document 5: token 19 is 24"))
      << "the place in the whole document";
}

TEST_F(BatchSourceTest, AStepByTokensHasWholeSequencesAndAtLeastOne) {
  const Corpus all = corpus(100);
  const BatchSource source(all, training(1, 3, 15), 100);
  std::vector<Tokens> drawn;
  for (int step = 0; step < 40; ++step) {
    const std::vector<Tokens> lengths = source.lengths(step);
    ASSERT_FALSE(lengths.empty());
    Tokens sum = 0;
    for (const Tokens length : lengths) sum += length;
    EXPECT_TRUE(sum <= 15 || lengths.size() == 1) << sum;
    drawn.insert(drawn.end(), lengths.begin(), lengths.end());
  }
  const BatchSource one_by_one(all, training(1, 3), 100);
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    ASSERT_THAT(one_by_one.lengths(static_cast<std::int64_t>(i)), ElementsAre(drawn[i]));
  }
}

TEST_F(BatchSourceTest, AStateSaysWhereAStepByTokensBegins) {
  const Corpus all = corpus(100);
  const BatchSource source(all, training(1, 3, 15), 100);
  const Json state = source.state(5);
  EXPECT_EQ(state["tokens_per_step"], 15);
  EXPECT_GE(state["position"].get<int>(), 5);
  const auto restore = [&](Tokens tokens) {
    return BatchSource(all, training(1, 3, tokens), 100).restore({state, "m.json", "sampler"});
  };
  const auto refusal = [&](Tokens tokens) { return error_of([&] { restore(tokens); }); };
  EXPECT_EQ(restore(15), 5);
  EXPECT_THAT(refusal(16), HasSubstr("m.json: sampler.tokens_per_step: found 15, expected 16"));
  EXPECT_THAT(refusal(0), HasSubstr("m.json: sampler.tokens_per_step: found 15, expected 0"));
}

TEST_F(BatchSourceTest, TokensOutsideTheVocabularyAreNamed) {
  const IndexedDataset data = build();
  EXPECT_EQ(load_document(data, 5, 100, 25), tokens(5, 20));
  EXPECT_THAT(error_of([&] { load_document(data, 5, 100, 24); }),
              HasSubstr("a: document 5: token 19 is 24, expected 0 to 23"));
  EXPECT_EQ(load_document(data, 5, 19, 24), tokens(5, 19)) << "behind the cut nobody looks";

  IndexedDatasetWriter writer(in("b"), TokenDtype::kInt32);
  writer.append(Ids{0, -1});
  writer.end_document();
  writer.finish();
  EXPECT_THAT(error_of([&] { load_document(IndexedDataset(in("b")), 0, 9, 100); }),
              HasSubstr("document 0: token 1 is -1"));
}

TEST_F(BatchSourceTest, RefusesWhatMakesNoSense) {
  const IndexedDataset data = build();
  const Corpus all = corpus(1);
  EXPECT_THAT(error_of([&] { BatchSource(all, training(2, 1), 0); }),
              HasSubstr("model.vocab_size: found 0"));
  EXPECT_THAT(error_of([&] { load_document(data, 10, 5, 100); }),
              HasSubstr("has no document 10, expected 0 to 9"));
  EXPECT_THAT(error_of([&] { load_document(data, -1, 5, 100); }), HasSubstr("no document -1"));
}

}  // namespace
}  // namespace infinipipe
