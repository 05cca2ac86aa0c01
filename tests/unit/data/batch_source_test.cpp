#include "data/batch_source.h"

#include <algorithm>

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

  Ids lengths_ = {5, 1, 12, 8, 3, 20, 10, 9, 2, 11};
};

TEST_F(BatchSourceTest, LoadsWhatTheSamplerSays) {
  const IndexedDataset data = build();
  const Sampler sampler(data.documents(), 4, 3);
  const BatchSource source(data, sampler, 100, 100);
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
  const IndexedDataset data(in("b"));
  const Sampler sampler(data.documents(), 10, 3);
  const LoadedBatch batch = BatchSource(data, sampler, 9, 100).load(1);
  ASSERT_EQ(batch.weights.size(), batch.sequences.size());
  for (std::size_t i = 0; i < batch.sequences.size(); ++i) {
    const auto length =
        static_cast<std::size_t>(lengths_[static_cast<std::size_t>(batch.documents[i])]);
    ASSERT_EQ(batch.weights[i].size(), batch.sequences[i].size());
    for (std::size_t j = 0; j < batch.weights[i].size(); ++j) {
      EXPECT_EQ(batch.weights[i][j], j < length / 2 ? 0.0F : 1.0F) << i << " " << j;
    }
  }
  build();
  const IndexedDataset plain(in("a"));
  EXPECT_THAT(BatchSource(plain, sampler, 9, 100).load(1).weights, IsEmpty());
}

TEST_F(BatchSourceTest, CutsAtTheCapAndCounts) {
  const IndexedDataset data = build();
  const Sampler sampler(data.documents(), 10, 3);  // a step is an epoch
  const BatchSource source(data, sampler, 9, 100);
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
  const IndexedDataset data = build();
  const Sampler sampler(3, 3, 1);
  const BatchSource source(data, sampler, 9, 100);
  const LoadedBatch batch = source.load(0);
  EXPECT_THAT(batch.documents, ElementsAre(1));
  EXPECT_THAT(batch.sequences, ElementsAre(tokens(1, 4)));
  EXPECT_EQ(batch.empty_documents, 2);
  EXPECT_THAT(source.lengths(0), ElementsAre(4));
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
  const IndexedDataset negative(in("b"));
  const Sampler sampler(1, 1, 1);
  EXPECT_THAT(error_of([&] { BatchSource(negative, sampler, 9, 100).load(0); }),
              HasSubstr("document 0: token 1 is -1"));
}

TEST_F(BatchSourceTest, RefusesWhatMakesNoSense) {
  const IndexedDataset data = build();
  const Sampler sampler(10, 2, 1);
  EXPECT_THAT(error_of([&] { BatchSource(data, sampler, 0, 10); }),
              HasSubstr("data.max_sequence_length: found 0"));
  EXPECT_THAT(error_of([&] { BatchSource(data, sampler, 1, 0); }),
              HasSubstr("model.vocab_size: found 0"));
  EXPECT_THAT(error_of([&] { load_document(data, 10, 5, 100); }),
              HasSubstr("has no document 10, expected 0 to 9"));
  EXPECT_THAT(error_of([&] { load_document(data, -1, 5, 100); }), HasSubstr("no document -1"));
}

}  // namespace
}  // namespace infinipipe
