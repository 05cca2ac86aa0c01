#include "base/hash.h"
#include "base/random.h"
#include "infinipipe/data/indexed_dataset.h"
#include "support/file_size_limit.h"
#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Ids = std::vector<std::int64_t>;

class IndexedDatasetWriterTest : public FolderTest {};

TEST_F(IndexedDatasetWriterTest, WritesTheFormatByteByByte) {
  IndexedDatasetWriter writer(in("a"), TokenDtype::kUint16);
  writer.append(Ids{1, 2});
  writer.append(Ids{3});
  writer.end_document();
  writer.append(Ids{258});
  EXPECT_EQ(writer.document_tokens(), 1);
  writer.end_document();
  EXPECT_EQ(writer.documents(), 2);
  EXPECT_EQ(writer.tokens(), 4);
  EXPECT_EQ(writer.document_tokens(), 0);
  writer.finish();
  EXPECT_THAT(files(), ElementsAre("a.bin", "a.idx"));
  EXPECT_EQ(read_file(in("a.bin")), std::string("\1\0\2\0\3\0\2\1", 8));
  EXPECT_EQ(read_file(in("a.idx")), std::string("MMIDIDX\0\0", 9) +
                                        raw(std::uint64_t{1}, std::uint8_t{8}) +
                                        raw(std::uint64_t{2}, std::uint64_t{3}) + raw(3, 1) +
                                        raw(std::int64_t{0}, std::int64_t{6}) +
                                        raw(std::int64_t{0}, std::int64_t{1}, std::int64_t{2}));
}

TEST_F(IndexedDatasetWriterTest, ManyDocumentsComeBack) {
  Random random(3);
  std::vector<Ids> documents(3000);
  IndexedDatasetWriter writer(in("a"), TokenDtype::kInt32);
  for (Ids& ids : documents) {
    ids.resize(static_cast<std::size_t>(random.between(0, 900)));
    for (auto& id : ids) id = random.between(0, 100000);
    writer.append(ids);
    writer.end_document();
  }
  writer.finish();
  const IndexedDataset data(in("a"));
  ASSERT_EQ(data.documents(), 3000);
  for (std::size_t i = 0; i < documents.size(); ++i) {
    ASSERT_EQ(data.read(static_cast<std::int64_t>(i)), documents[i]) << i;
  }
}

TEST_F(IndexedDatasetWriterTest, ALongDocumentTakesSeveralSequences) {
  IndexedDatasetWriter writer(in("a"), TokenDtype::kUint8, 4);
  for (const std::int64_t length : {3, 4, 9, 0, 8}) {
    writer.append(Ids(static_cast<std::size_t>(length), length));
    writer.end_document();
  }
  writer.finish();
  const IndexedDataset data(in("a"));
  EXPECT_EQ(data.sequences(), 1 + 1 + 3 + 1 + 2);
  EXPECT_THAT(data.lengths(), ElementsAre(3, 4, 9, 0, 8));
  EXPECT_THAT(data.read(2), ElementsAre(9, 9, 9, 9, 9, 9, 9, 9, 9));
}

TEST_F(IndexedDatasetWriterTest, WeightsAreWrittenByteByByteAndOnlyWhereTheyDiffer) {
  const auto write = [&](bool first) {
    IndexedDatasetWriter writer(in("a"), TokenDtype::kUint8);
    writer.append(Ids{1, 2}, first);
    writer.append(Ids{3});
    writer.end_document();
    writer.append(Ids{4}, first);
    writer.end_document();
    writer.append(Ids{5, 6}, first);
    writer.end_document();
    EXPECT_EQ(writer.has_weights(), !first);
    EXPECT_EQ(writer.loss_tokens(), first ? 3 : 1) << "nothing predicts a document's first token";
    EXPECT_EQ(writer.documents_without_loss(), first ? 0 : 1) << "one token has none anyway";
    writer.finish();
  };
  write(false);
  EXPECT_THAT(files(), ElementsAre("a.bin", "a.idx", "a.weights"));
  const std::string index = read_file(in("a.idx"));
  EXPECT_EQ(read_file(in("a.weights")), "IPWEIGHT" + raw(std::uint64_t{1}, std::uint64_t{6}) +
                                            hash_hex(index) + std::string("\0\0\1\0\0\0", 6));
  write(true);
  EXPECT_THAT(files(), ElementsAre("a.bin", "a.idx")) << "the older weights are gone";
  EXPECT_EQ(read_file(in("a.idx")), index);
}

TEST_F(IndexedDatasetWriterTest, RandomWeightsComeBack) {
  Random random(5);
  std::vector<std::vector<float>> documents(300);
  IndexedDatasetWriter writer(in("a"), TokenDtype::kUint16, 100);
  for (auto& weights : documents) {
    for (std::int64_t parts = random.between(0, 4); parts > 0; --parts) {
      const auto count = static_cast<std::size_t>(random.between(0, 400));
      const bool loss = random.between(0, 1) == 1;
      writer.append(Ids(count, 7), loss);
      weights.insert(weights.end(), count, loss ? 1.0F : 0.0F);
    }
    writer.end_document();
  }
  writer.finish();
  const IndexedDataset data(in("a"));
  ASSERT_TRUE(data.has_weights());
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const auto document = static_cast<std::int64_t>(i);
    ASSERT_EQ(data.weights(document), documents[i]) << i;
    const auto begin = std::min<std::size_t>(3, documents[i].size());
    const auto end = std::min<std::size_t>(13, documents[i].size());
    ASSERT_EQ(data.weights(document, 3, 10),
              std::vector<float>(documents[i].begin() + begin, documents[i].begin() + end));
  }
}

TEST_F(IndexedDatasetWriterTest, WithoutFinishNothingIsLeft) {
  {
    IndexedDatasetWriter writer(in("a"), TokenDtype::kUint8);
    writer.append(Ids(3'000'000, 1));
    writer.end_document();
    for (const std::string& name : files()) {
      EXPECT_TRUE(name != "a.bin" && name != "a.idx") << "visible before it is whole: " << name;
    }
  }
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(IndexedDatasetWriterTest, AnOlderDatasetStaysUntilTheNewOneIsWhole) {
  const auto write = [&](std::int64_t id, bool finish) {
    IndexedDatasetWriter writer(in("a"), TokenDtype::kUint8);
    writer.append(Ids{id, id});
    writer.end_document();
    if (finish) writer.finish();
  };
  write(1, true);
  write(2, false);
  EXPECT_THAT(IndexedDataset(in("a")).read(0), ElementsAre(1, 1));
  write(3, true);
  EXPECT_THAT(IndexedDataset(in("a")).read(0), ElementsAre(3, 3));
  EXPECT_THAT(files(), ElementsAre("a.bin", "a.idx"));
}

TEST_F(IndexedDatasetWriterTest, IdsThatDoNotFitAreRefused) {
  IndexedDatasetWriter writer(in("a"), TokenDtype::kUint16);
  EXPECT_THAT(error_of([&] { writer.append(Ids{1, 65536}); }), HasSubstr("found 65536"));
  EXPECT_THAT(error_of([&] { writer.append(Ids{-1}); }), HasSubstr("fits uint16"));
  EXPECT_EQ(writer.document_tokens(), 0);
}

TEST_F(IndexedDatasetWriterTest, AFullDiskIsReportedAndLeavesNothing) {
  std::string during_append;
  std::string during_finish;
  {
    const FileSizeLimit limit(1 << 16);
    during_append = error_of<RunError>([&] {
      IndexedDatasetWriter writer(in("a"), TokenDtype::kUint8);
      for (int i = 0; i < 64; ++i) writer.append(Ids(1 << 16, 1));
    });
    during_finish = error_of<RunError>([&] {  // the index alone is too large
      IndexedDatasetWriter writer(in("b"), TokenDtype::kUint8);
      for (int i = 0; i < 10'000; ++i) {
        writer.append(Ids{1});
        writer.end_document();
      }
      writer.finish();
    });
  }
  EXPECT_THAT(during_append, HasSubstr("a.bin: cannot be written"));
  EXPECT_THAT(during_finish, HasSubstr("b.idx: cannot be written"));
  EXPECT_THAT(files(), IsEmpty());
}

TEST_F(IndexedDatasetWriterTest, FoldersThatCannotTakeItAreNamed) {
  EXPECT_THAT(
      error_of<RunError>([&] { IndexedDatasetWriter writer(in("none/a"), TokenDtype::kUint8); }),
      HasSubstr("none/a.bin: cannot be created"));
  make_folder(in("a.idx/x"));
  IndexedDatasetWriter writer(in("a"), TokenDtype::kUint8);
  writer.append(Ids{1});
  writer.end_document();
  EXPECT_THAT(error_of<RunError>([&] { writer.finish(); }), HasSubstr("a.idx: "));
  EXPECT_FALSE(std::filesystem::exists(in("a.bin")));
}

TEST_F(IndexedDatasetWriterTest, MisuseIsABug) {
  IndexedDatasetWriter writer(in("a"), TokenDtype::kUint16);
  EXPECT_THROW(writer.append_bytes(std::vector<std::byte>(3)), std::logic_error);
  writer.append(Ids{1});
  EXPECT_THROW(writer.finish(), std::logic_error);
  writer.end_document();
  writer.finish();
  EXPECT_THROW(writer.finish(), std::logic_error);
  EXPECT_THROW(writer.append(Ids{1}), std::logic_error);
}

}  // namespace
}  // namespace infinipipe
