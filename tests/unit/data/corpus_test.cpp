#include "data/corpus.h"

#include "base/random.h"
#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

class CorpusTest : public FolderTest {
 protected:
  std::string write(const std::string& name, const std::vector<Tokens>& lengths) const {
    IndexedDatasetWriter writer(in(name), TokenDtype::kUint16);
    for (const Tokens length : lengths) {
      writer.append(std::vector<std::int64_t>(static_cast<std::size_t>(length), 7));
      writer.end_document();
    }
    writer.finish();
    return in(name);
  }
  static DataConfig config(std::string path, Tokens longest, LongDocuments choice) {
    DataConfig config;
    config.path = std::move(path);
    config.max_sequence_length = longest;
    config.long_documents = choice;
    return config;
  }
};

// The pieces of a set, document by document.
std::vector<Corpus::Piece> plain(std::size_t set, const std::vector<Tokens>& lengths,
                                 Tokens longest, LongDocuments choice) {
  std::vector<Corpus::Piece> pieces;
  for (std::size_t d = 0; d < lengths.size(); ++d) {
    Corpus::Piece piece{set, static_cast<std::int64_t>(d), 0, std::min(lengths[d], longest),
                        lengths[d]};
    if (lengths[d] > longest && choice == LongDocuments::kDrop) continue;
    pieces.push_back(piece);
    while (choice == LongDocuments::kSplit && piece.begin + piece.length < lengths[d]) {
      piece.begin += longest;
      piece.length = std::min(longest, lengths[d] - piece.begin);
      pieces.push_back(piece);
    }
  }
  return pieces;
}

TEST_F(CorpusTest, PiecesAreThoseOfAPlainListing) {
  Random random(3);
  std::vector<std::vector<Tokens>> sets = {{3}, {0}, {1, 7, 0}};
  for (std::size_t i = 0; i < 40; ++i) sets[i % 3].push_back(random.between(0, 40));
  std::string path;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    path += (i == 0 ? "" : ",") + write("set" + std::to_string(i), sets[i]) + ":1";
  }
  for (int round = 0; round < 60; ++round) {
    const auto choice = static_cast<LongDocuments>(round % 3);
    const Tokens longest = 3 + round / 3;
    std::vector<Corpus::Piece> expected;
    for (std::size_t i = 0; i < sets.size(); ++i) {
      const auto own = plain(i, sets[i], longest, choice);
      expected.insert(expected.end(), own.begin(), own.end());
    }
    const Corpus corpus(config(path, longest, choice));
    ASSERT_EQ(corpus.pieces(), static_cast<std::int64_t>(expected.size()));
    Tokens tokens = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const Corpus::Piece found = corpus.piece(static_cast<std::int64_t>(i));
      ASSERT_EQ(found.set, expected[i].set);
      ASSERT_EQ(found.document, expected[i].document);
      ASSERT_EQ(found.begin, expected[i].begin);
      ASSERT_EQ(found.length, expected[i].length);
      ASSERT_EQ(found.document_length, expected[i].document_length);
      tokens += found.length;
    }
    Tokens counted = 0;
    for (const Corpus::Set& set : corpus.sets()) counted += set.tokens;
    EXPECT_EQ(counted, tokens);
  }
}

TEST_F(CorpusTest, LongDocumentsAreCounted) {
  write("a", {5, 10, 11, 40, 0});
  const Corpus corpus(config(in("a"), 10, LongDocuments::kCut));
  const LongDocumentCount longer = corpus.sets()[0].longer;
  EXPECT_EQ(longer.documents, 2);
  EXPECT_EQ(longer.parts, 2 + 4);
  EXPECT_EQ(longer.tokens, 51);
  EXPECT_EQ(longer.behind_the_cut, 31);
}

TEST_F(CorpusTest, RefusesWhatCannotBeDrawnFrom) {
  const auto refusal = [](const DataConfig& config) { return error_of([&] { Corpus{config}; }); };
  write("a", {20, 30});
  write("none", {});
  EXPECT_THAT(refusal(config("", 10, LongDocuments::kCut)), HasSubstr("data.path: found nothing"));
  EXPECT_THAT(refusal(config(in("a"), 0, LongDocuments::kCut)),
              HasSubstr("data.max_sequence_length: found 0"));
  EXPECT_THAT(refusal(config(in("none"), 10, LongDocuments::kCut)), HasSubstr("found no document"));
  EXPECT_THAT(refusal(config(in("a"), 10, LongDocuments::kDrop)),
              HasSubstr("each document has over 10 tokens, and such are dropped"));
  EXPECT_THAT(refusal(config(in("a") + ":1," + in("b") + ":1", 10, LongDocuments::kCut)),
              HasSubstr("b.idx: cannot be opened"));
}

}  // namespace
}  // namespace infinipipe
