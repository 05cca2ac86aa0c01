#include "infinipipe/data/indexed_dataset.h"

#include <fcntl.h>

#include <cstdint>

#include "base/hash.h"
#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Ids = std::vector<std::int64_t>;

class IndexedDatasetTest : public FolderTest {
 protected:
  // Three sequences of uint16 in two documents: {7, 8}, {9 | 10, 11, 12}.
  void SetUp() override {
    FolderTest::SetUp();
    put("a.bin", raw(std::uint16_t{7}, std::uint16_t{8}, std::uint16_t{9}, std::uint16_t{10},
                     std::uint16_t{11}, std::uint16_t{12}));
    put("a.idx", index());
  }

  static std::string header(std::uint64_t sequences, std::uint64_t entries,
                            std::uint8_t dtype = 8) {
    return std::string("MMIDIDX\0\0", 9) + raw(std::uint64_t{1}, dtype) + raw(sequences, entries);
  }
  static std::string index() {
    return header(3, 3) + raw(2, 1, 3) + raw(std::int64_t{0}, std::int64_t{4}, std::int64_t{6}) +
           raw(std::int64_t{0}, std::int64_t{1}, std::int64_t{3});
  }
  std::string refusal() const {
    return error_of([&] { IndexedDataset{in("a")}; });
  }
  std::string refusal_with_index(const std::string& content) const {
    put("a.idx", content);
    return refusal();
  }

  static constexpr std::size_t kLengths = 34;
  static constexpr std::size_t kOffsets = 34 + 12;
  static constexpr std::size_t kDocuments = 34 + 36;
};

TEST_F(IndexedDatasetTest, ReadsTheFormatByteByByte) {
  const IndexedDataset data(in("a"));
  EXPECT_EQ(data.documents(), 2);
  EXPECT_EQ(data.sequences(), 3);
  EXPECT_EQ(data.tokens(), 6);
  EXPECT_EQ(data.dtype(), TokenDtype::kUint16);
  EXPECT_THAT(data.lengths(), ElementsAre(2, 4));
  EXPECT_THAT(data.read(0), ElementsAre(7, 8));
  EXPECT_THAT(data.read(1), ElementsAre(9, 10, 11, 12));
}

TEST_F(IndexedDatasetTest, ReadsPartsOfADocument) {
  const IndexedDataset data(in("a"));
  EXPECT_THAT(data.read(1, 0, 2), ElementsAre(9, 10));
  EXPECT_THAT(data.read(1, 3), ElementsAre(12));
  EXPECT_THAT(data.read(1, 2, 100), ElementsAre(11, 12));
  EXPECT_THAT(data.read(1, 4), IsEmpty());
  EXPECT_THAT(data.read(0, 0, 0), IsEmpty());
}

TEST_F(IndexedDatasetTest, ReadsMultimodalFilesAndEmptyDocuments) {
  put("a.idx", index() + raw(std::int8_t{0}, std::int8_t{1}, std::int8_t{0}));
  EXPECT_EQ(IndexedDataset(in("a")).tokens(), 6);

  put("a.idx", header(3, 4) + raw(2, 0, 4) +
                   raw(std::int64_t{0}, std::int64_t{4}, std::int64_t{4}) +
                   raw(std::int64_t{0}, std::int64_t{2}, std::int64_t{2}, std::int64_t{3}));
  EXPECT_THAT(IndexedDataset(in("a")).lengths(), ElementsAre(2, 0, 4));
}

TEST_F(IndexedDatasetTest, AnEmptyDatasetIsOne) {
  put("a.bin", "");
  put("a.idx", header(0, 1) + raw(std::int64_t{0}));
  EXPECT_EQ(IndexedDataset(in("a")).documents(), 0);
}

TEST_F(IndexedDatasetTest, EveryDtypeKeepsItsExtremes) {
  const auto round_trip = [&](TokenDtype dtype, const Ids& ids) {
    IndexedDatasetWriter writer(in("b"), dtype);
    writer.append(ids);
    writer.end_document();
    writer.finish();
    const IndexedDataset data(in("b"));
    EXPECT_EQ(data.dtype(), dtype);
    EXPECT_EQ(data.read(0), ids) << token_dtype_name(dtype);
  };
  round_trip(TokenDtype::kUint8, {0, 255});
  round_trip(TokenDtype::kInt8, {-128, 127});
  round_trip(TokenDtype::kInt16, {-32768, 32767});
  round_trip(TokenDtype::kUint16, {0, 65535});
  round_trip(TokenDtype::kInt32, {INT32_MIN, INT32_MAX});
  round_trip(TokenDtype::kInt64, {INT64_MIN, INT64_MAX});
}

TEST_F(IndexedDatasetTest, TheVocabularyChoosesTheDtype) {
  EXPECT_EQ(token_dtype_for(257), TokenDtype::kUint16);
  EXPECT_EQ(token_dtype_for(65499), TokenDtype::kUint16);
  EXPECT_EQ(token_dtype_for(65500), TokenDtype::kInt32);
}

TEST_F(IndexedDatasetTest, MissingFilesAreNamed) {
  EXPECT_THAT(error_of([&] { IndexedDataset{in("none")}; }),
              HasSubstr("none.idx: cannot be opened"));
  std::filesystem::remove(in("a.bin"));
  EXPECT_THAT(refusal(), HasSubstr("a.bin: cannot be opened"));
}

TEST_F(IndexedDatasetTest, RefusesBrokenHeaders) {
  EXPECT_THAT(refusal_with_index(""), HasSubstr("has 0 bytes, expected a header of 34"));
  EXPECT_THAT(refusal_with_index(index().substr(0, 33)), HasSubstr("has 33 bytes"));
  std::string broken = index();
  broken[0] = 'X';
  EXPECT_THAT(refusal_with_index(broken), HasSubstr("does not start with MMIDIDX"));
  broken = index();
  broken[9] = 2;
  EXPECT_THAT(refusal_with_index(broken), HasSubstr("version is 2, expected 1"));
  for (const char code : {'\0', '\x9', '\xff'}) {
    broken = index();
    broken[17] = code;
    EXPECT_THAT(refusal_with_index(broken), HasSubstr("dtype code is"));
  }
}

TEST_F(IndexedDatasetTest, FloatingPointIsRefused) {
  const auto with = [&](std::uint8_t dtype, std::int64_t width) {
    put("a.bin", std::string(static_cast<std::size_t>(3 * width), '\0'));
    return refusal_with_index(header(1, 2, dtype) + raw(3) + raw(std::int64_t{0}) +
                              raw(std::int64_t{0}, std::int64_t{1}));
  };
  EXPECT_THAT(with(6, 8), HasSubstr("dtype code is 6, floating point, expected whole numbers"));
  EXPECT_THAT(with(7, 4),
              HasSubstr("dtype code is 7, 32-bit floats to Megatron and uint32 to DeepSpeed"));
}

// Its codes 6 and 8 are uint16 and uint64; Megatron's are float64 and uint16.
TEST_F(IndexedDatasetTest, ReadsDeepSpeedsDtypesWhereSizesProveThem) {
  put("a.idx", header(3, 3, 6) + index().substr(34));
  const IndexedDataset narrow(in("a"));
  EXPECT_EQ(narrow.dtype(), TokenDtype::kUint16);
  EXPECT_THAT(narrow.read(1), ElementsAre(9, 10, 11, 12));

  put("a.bin", raw(std::uint64_t{7}, std::uint64_t{1} << 40, std::uint64_t{9}));
  put("a.idx", header(2, 3, 8) + raw(2, 1) + raw(std::int64_t{0}, std::int64_t{16}) +
                   raw(std::int64_t{0}, std::int64_t{1}, std::int64_t{2}));
  const IndexedDataset wide(in("a"));
  EXPECT_EQ(wide.tokens(), 3);
  EXPECT_THAT(wide.read(0), ElementsAre(7, std::int64_t{1} << 40));
  EXPECT_THAT(wide.read(1), ElementsAre(9));
}

TEST_F(IndexedDatasetTest, AFilesNameInPlaceOfThePrefixIsExplained) {
  for (const std::string suffix : {".bin", ".idx"}) {
    EXPECT_THAT(error_of([&] { IndexedDataset{in("a" + suffix)}; }),
                HasSubstr("a" + suffix +
                          ": is the name of a file, expected the prefix of PREFIX.bin "
                          "and PREFIX.idx; leave out " +
                          suffix));
  }
  put("b.bin.bin", read_file(in("a.bin")));
  put("b.bin.idx", index());
  EXPECT_EQ(IndexedDataset(in("b.bin")).documents(), 2) << "a prefix may have a dot";
}

// With a memory map these reads would end the process by a signal.
TEST_F(IndexedDatasetTest, WeightsMustBeOfThisIndex) {
  const std::string good = "IPWEIGHT" + raw(std::uint64_t{1}, std::uint64_t{6}) +
                           hash_hex(read_file(in("a.idx"))) + std::string("\0\1\1\0\0\7", 6);
  EXPECT_FALSE(IndexedDataset(in("a")).has_weights());
  EXPECT_THAT(IndexedDataset(in("a")).weights(0), IsEmpty());
  put("a.weights", good);
  const IndexedDataset data(in("a"));
  EXPECT_THAT(data.weights(0), ElementsAre(0.0F, 1.0F));
  EXPECT_THAT(data.weights(1, 1, 2), ElementsAre(0.0F, 0.0F));
  EXPECT_THAT(error_of([&] { data.weights(1); }), HasSubstr("token 5 has weight 7"));

  const auto refusal_of = [&](const std::string& content) {
    put("a.weights", content);
    return refusal();
  };
  EXPECT_THAT(refusal_of(""), HasSubstr("does not start with IPWEIGHT"));
  EXPECT_THAT(refusal_of("X" + good.substr(1)), HasSubstr("does not start with IPWEIGHT"));
  EXPECT_THAT(refusal_of(good.substr(0, 8) + "\2" + good.substr(9)), HasSubstr("version is 2"));
  EXPECT_THAT(refusal_of(good.substr(0, 16) + "\7" + good.substr(17)), HasSubstr("is of 7 tokens"));
  EXPECT_THAT(refusal_of(good + "x"), HasSubstr("has 63 bytes"));
  std::string other = good;
  other[24] = 'x';
  EXPECT_THAT(refusal_of(other), HasSubstr("is of another index"));
}

TEST_F(IndexedDatasetTest, FilesThatAreCutShortWhileTheyAreReadAreNamed) {
  const IndexedDataset data(in("a"));
  EXPECT_THAT(data.read(1), ElementsAre(9, 10, 11, 12));
  std::filesystem::resize_file(in("a.bin"), 0);
  EXPECT_THAT(error_of<RunError>([&] { data.read(1); }),
              HasSubstr("a.bin: was changed while it was in use, from 12 to 0 bytes"));
  std::filesystem::resize_file(in("a.idx"), 20);
  EXPECT_THAT(error_of<RunError>([&] { data.length(0); }), HasSubstr("a.idx: was changed"));
  EXPECT_THAT(error_of<RunError>([&] { data.lengths(); }), HasSubstr("a.idx: was changed"));
}

TEST_F(IndexedDatasetTest, RefusesCountsThatOverflow) {
  for (const std::uint64_t count :
       {std::uint64_t{4}, std::uint64_t{1} << 32, std::uint64_t{1} << 60, std::uint64_t{1} << 62,
        std::uint64_t{0x1555555555555556} /* x 12 = 8 mod 2^64 */, ~std::uint64_t{0}}) {
    EXPECT_THAT(refusal_with_index(header(count, 3) + index().substr(34)), HasSubstr("cut short"))
        << count;
    EXPECT_THAT(refusal_with_index(header(3, count) + index().substr(34)), HasSubstr("cut short"))
        << count;
  }
  EXPECT_THAT(refusal_with_index(header(3, 0) + index().substr(34)), HasSubstr("index is empty"));
}

TEST_F(IndexedDatasetTest, RefusesWrongFileSizes) {
  EXPECT_THAT(refusal_with_index(index().substr(0, index().size() - 1)), HasSubstr("cut short"));
  EXPECT_THAT(refusal_with_index(index() + "x"), HasSubstr("has 1 bytes too many"));
  put("a.idx", index());
  put("a.bin", read_file(in("a.bin")).substr(0, 10));
  EXPECT_THAT(refusal(), HasSubstr("sequence 2: ends at byte 6 + 3 x 2, expected at most the 10"));
  put("a.bin", std::string(14, 'x'));
  EXPECT_THAT(refusal(), HasSubstr("a.bin: has 14 bytes, expected 12"));
}

TEST_F(IndexedDatasetTest, RefusesBrokenSequences) {
  overwrite(in("a.idx"), kLengths + 4, raw(-1));
  EXPECT_THAT(refusal(), HasSubstr("sequence 1: length is -1, expected 0 or more"));
  put("a.idx", index());
  overwrite(in("a.idx"), kLengths + 8, raw(INT32_MAX));
  EXPECT_THAT(refusal(), HasSubstr("sequence 2: ends at byte 6 + 2147483647 x 2"));

  const auto with_offset = [&](std::int64_t offset) {
    put("a.idx", index());
    overwrite(in("a.idx"), kOffsets + 8, raw(offset));
    return refusal();
  };
  EXPECT_THAT(with_offset(14), HasSubstr("sequence 1: offset is 14, expected one within the 12"));
  EXPECT_THAT(with_offset(-2), HasSubstr("offset is -2, expected one within"));
  EXPECT_THAT(with_offset(INT64_MIN), HasSubstr("expected one within"));
  EXPECT_THAT(with_offset(INT64_MAX), HasSubstr("expected one within"));
  EXPECT_THAT(with_offset(3), HasSubstr("offset is 3, expected a multiple of 2"));
  EXPECT_THAT(with_offset(2), HasSubstr("offset is 2, expected 4, where the sequence before ends"));
}

TEST_F(IndexedDatasetTest, RefusesBrokenDocuments) {
  const auto with_entry = [&](std::size_t entry, std::int64_t value) {
    put("a.idx", index());
    overwrite(in("a.idx"), kDocuments + 8 * entry, raw(value));
    return refusal();
  };
  EXPECT_THAT(with_entry(0, 1), HasSubstr("document index entry 0 is 1, expected 0"));
  EXPECT_THAT(with_entry(1, -1), HasSubstr("entry 1 is -1, expected at least 0"));
  EXPECT_THAT(with_entry(1, 4), HasSubstr("entry 1 is 4, expected at most 3"));
  EXPECT_THAT(with_entry(2, 0), HasSubstr("entry 2 is 0, expected at least 1"));
  EXPECT_THAT(with_entry(2, 2), HasSubstr("entry 2 is 2, expected the number of sequences, 3"));
}

TEST_F(IndexedDatasetTest, WorksBeyondTwoToThe31Tokens) {
  // Three sequences of 1.5e9 tokens, 2 bytes each; the last two are one document. Sparse on disk.
  constexpr std::int64_t kLong = 1'500'000'000;
  constexpr std::int64_t kSize = 3 * kLong * 2;
  const auto length = static_cast<std::int32_t>(kLong);
  put("big.idx", header(3, 3) + raw(length, length, length) +
                     raw(std::int64_t{0}, 2 * kLong, 4 * kLong) +
                     raw(std::int64_t{0}, std::int64_t{1}, std::int64_t{3}));
  const int file = ::open(in("big.bin").c_str(), O_WRONLY | O_CREAT, 0644);
  ASSERT_GE(file, 0);
  ASSERT_EQ(::ftruncate(file, kSize), 0);
  const std::string end = raw(std::uint16_t{501}, std::uint16_t{502});
  ASSERT_EQ(::pwrite(file, end.data(), end.size(), kSize - 4), 4);
  ::close(file);

  const IndexedDataset data(in("big"));
  EXPECT_EQ(data.tokens(), 3 * kLong);
  EXPECT_THAT(data.lengths(), ElementsAre(kLong, 2 * kLong));
  EXPECT_THAT(data.read(1, 2 * kLong - 3), ElementsAre(0, 501, 502));
  EXPECT_THAT(data.read(1, 2 * kLong - 2, 1), ElementsAre(501));
}

}  // namespace
}  // namespace infinipipe
