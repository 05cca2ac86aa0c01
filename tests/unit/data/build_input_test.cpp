// What a build reads: several inputs, links, compressed files, arrays, odd lines.
#include <sys/stat.h>

#include <thread>

#include "build_testing.h"
#include "compressed.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using BuildInputTest = BuildTest;

TEST_F(BuildInputTest, SeveralInputsAreReadInTheirOrder) {
  put("text/b", "folder b");
  put("text/a", "folder a");
  options_.inputs = {put("z.txt", "file"), in("text"), put("a.jsonl", "{\"text\": \"line\"}\n"),
                     put("m/x", "other folder").substr(0, in("m").size())};
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("file", "folder a", "folder b", "line", "other folder"));
  EXPECT_EQ(result.files, 5);
}

TEST_F(BuildInputTest, ABookIsADocument) {
  options_.inputs = {put("book.txt", "Call me Ishmael.\nSome years ago\n")};
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("Call me Ishmael.\nSome years ago\n"));
}

// One rule for a file that is named and for one in a folder.
TEST_F(BuildInputTest, AFilesNameSaysWhatItHolds) {
  const std::string line = "{\"text\": \"x\"}";
  const std::pair<const char*, std::string> expected[] = {
      {"a.jsonl", "x"}, {"a.ndjson", "x"}, {"a.JSONL", "x"}, {"a.json", "x"},
      {"a.txt", line},  {"a.go", line},    {"a", line},      {"json", line}};
  for (const auto& [name, text] : expected) {
    fs::remove_all(in("text"));
    const std::string path = put(std::string("text/") + name, line);
    for (const std::string& input : {path, in("text")}) {
      options_.inputs = {input};
      build_dataset(options_);
      EXPECT_THAT(built(), ElementsAre(text)) << input;
    }
  }
}

TEST_F(BuildInputTest, APipeNeedsAFormat) {
  ASSERT_EQ(::mkfifo(in("pipe").c_str(), 0600), 0);
  options_.inputs = {in("pipe")};
  EXPECT_THAT(refusal(),
              HasSubstr("pipe: has no name that tells what it holds, expected --format"));
}

TEST_F(BuildInputTest, CompressedFilesAreReadAsWhatTheyHold) {
  put("text/a.jsonl.gz", kTwoLinesGzip);
  put("text/b.jsonl.zst", kTwoLinesZstd);
  put("text/c.txt", kBlockGzip);  // told by the first bytes, not by the name
  put("text/d.txt.zst", kBlockZstd);
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("one", "two", "one", "two", block(), block()));
  EXPECT_EQ(result.bytes, static_cast<std::int64_t>(kTwoLinesGzip.size() + kTwoLinesZstd.size() +
                                                    kBlockGzip.size() + kBlockZstd.size()));
  options_.inputs = {in("text/a.jsonl.gz")};
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("one", "two"));
}

TEST_F(BuildInputTest, CompressedFilesOfManyPartsAreOne) {
  std::string gzip, zstd, expected;
  for (int i = 0; i < 40; ++i) {
    gzip += kBlockGzip;
    zstd += kBlockZstd;
    expected += block();
  }
  put("text/a.gz", gzip + std::string(700, '\0'));  // zeros that fill a tape's block
  put("text/b.zst", zstd);
  for (const std::size_t piece : {std::size_t{1000}, std::size_t{1} << 20}) {
    options_.piece_bytes = piece;
    build_dataset(options_);
    EXPECT_TRUE(built() == (std::vector<std::string>{expected, expected})) << piece;
  }
}

TEST_F(BuildInputTest, DamagedCompressedFilesAreNamed) {
  const auto with = [&](const char* name, std::string_view content) {
    options_.inputs = {put(name, content)};
    return refusal();
  };
  for (std::size_t cut = 4; cut < kBlockGzip.size(); cut += 7) {
    EXPECT_THAT(with("a.gz", kBlockGzip.substr(0, cut)),
                HasSubstr("a.gz: ends within its compressed data, expected a whole file"));
  }
  for (std::size_t cut = 5; cut < kBlockZstd.size(); ++cut) {
    EXPECT_THAT(with("a.zst", kBlockZstd.substr(0, cut)), HasSubstr("a.zst: ends within its"));
  }
  std::string broken(kBlockGzip);
  broken[broken.size() - 6] ^= 1;  // the checksum
  EXPECT_THAT(with("a.gz", broken), HasSubstr("a.gz: its gzip data is damaged: incorrect data"));
  EXPECT_THAT(with("a.gz", std::string(kBlockGzip) + "more"), HasSubstr("a.gz: its gzip data is"));
  broken = kBlockZstd;
  broken[broken.size() - 1] ^= 1;
  EXPECT_THAT(with("a.zst", broken), HasSubstr("a.zst: its Zstandard data cannot be read"));
  options_.on_bad_line = OnBadLine::kSkip;  // a document would be half there
  EXPECT_THAT(with("a.zst", broken), HasSubstr("a.zst: its Zstandard data cannot be read"));
}

// The beginning of an archive of one file.
std::string tar(const char (&magic)[8]) {
  std::string text = "name.txt" + std::string(504, '\0') + "what the file holds";
  text.replace(257, 6, magic, 6);
  return text;
}

TEST_F(BuildInputTest, FormatsThatAreNotReadAreNamed) {
  const std::pair<std::string, const char*> others[] = {
      {"PAR1" + std::string(20, '\0') + "PAR1", "Parquet"},
      {std::string("\xfd"
                   "7zXZ\0rest",
                   10),
       "xz"},
      {"BZh91AY&SYrest", "bzip2"},
      {"PK\x03\x04rest", "zip"},
      {"PK\x05\x06" + std::string(18, '\0'), "zip"},
      {std::string("]\0\0\x80\0", 5) + std::string(8, '\xff') + "rest", "lzma"},
      {tar("ustar\0"
           "0"),
       "tar"},
      {tar("ustar  "), "tar"},  // as GNU writes it
      {"Rar!\x1a\x07rest", "rar"},
      {"!<arch>\nrest", "ar"},
      {"\x04\x22\x4d\x18rest", "lz4"}};
  options_.format = InputFormat::kText;  // Parquet is read where it may be rows
  for (const auto& [content, name] : others) {
    const std::string path = put("text/x", content);
    for (const std::string& input : {path, in("text")}) {
      options_.inputs = {input};
      EXPECT_THAT(refusal(), HasSubstr("text/x: is a file of " + std::string(name)));
    }
    for (const std::string& compressed : {in_gzip(content), in_zstd(content)}) {
      options_.inputs = {put("z.txt", compressed)};
      EXPECT_THAT(refusal(), HasSubstr("z.txt: holds a file of " + std::string(name) +
                                       " in its compressed data, expected text or JSON"));
    }
  }
  put("text/y", "PAR1S is no Parquet");
  put("text/z", "BZhang wrote this");
  options_.inputs = {in("text")};
  options_.on_bad_line = OnBadLine::kSkip;
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("PAR1S is no Parquet", "BZhang wrote this"));
  EXPECT_EQ(result.bad_lines, 1);
  EXPECT_THAT(result.bad_examples, ElementsAre(HasSubstr("text/x: is a file of lz4")));
}

TEST_F(BuildInputTest, WhatIsCompressedTwiceIsNamed) {
  const std::pair<std::string, const char*> twice[] = {
      {in_gzip(in_gzip("text")), "gzip"},
      {in_zstd(in_gzip("text")), "gzip"},
      {in_gzip(in_zstd("text")), "Zstandard"},
      {in_zstd(in_zstd("text")), "Zstandard"},
      {in_zstd("\x50\x2a\x4d\x18" + std::string(4, '\0') + in_zstd("text")), "Zstandard"}};
  for (const auto& [content, name] : twice) {
    options_.inputs = {put("z.jsonl.gz", content)};
    EXPECT_THAT(refusal(), HasSubstr("z.jsonl.gz: holds a file of " + std::string(name)));
  }
  options_.inputs.push_back(put("a.txt.gz", in_gzip("read all the same")));
  options_.inputs.push_back(put("b.txt.gz", in_gzip("PAR1 is a receptor")));
  options_.on_bad_line = OnBadLine::kSkip;
  EXPECT_EQ(build_dataset(options_).bad_lines, 1);
  EXPECT_THAT(built(), ElementsAre("read all the same", "PAR1 is a receptor"));
}

TEST_F(BuildInputTest, ALargeTableInCompressedDataIsNamed) {
  std::string table = "PAR1\x15\x04" + std::string(60'000, 'x') + "PAR1";
  table.insert(40, 1, '\0');
  std::string parts = in_gzip(table);
  for (int i = 0; i < 3; ++i) parts += in_gzip(std::string(60'000, 'y'));
  options_.inputs = {put("a.gz", parts)};
  EXPECT_THAT(refusal(), HasSubstr("a.gz: holds a file of Parquet"));
}

// A small compressed file may hold much: how far it is is told by the compressed bytes used.
TEST_F(BuildInputTest, ProgressInCompressedFilesEndsWithTheFile) {
  std::string parts;
  for (int i = 0; i < 40; ++i) parts += kBlockGzip;
  options_.inputs = {put("a.gz", parts)};
  options_.threads = 1;
  options_.piece_bytes = 1000;
  std::vector<double> shares;
  BuildProgress last;
  options_.progress = [&](const BuildProgress& progress) {
    shares.push_back(static_cast<double>(progress.bytes) /
                     static_cast<double>(progress.total_bytes));
    last = progress;
  };
  build_dataset(options_);
  ASSERT_GT(shares.size(), 2000U);
  for (std::size_t i = 0; i < shares.size(); ++i) {
    EXPECT_NEAR(shares[i], static_cast<double>(i) / static_cast<double>(shares.size()), 0.1) << i;
  }
  EXPECT_EQ(last.bytes, last.total_bytes);
  EXPECT_EQ(last.text_bytes, static_cast<std::int64_t>(40 * block().size()));
}

TEST_F(BuildInputTest, APipesSizeIsNotKnown) {
  ASSERT_EQ(::mkfifo(in("pipe").c_str(), 0600), 0);
  options_.inputs = {put("a.txt", "text"), in("pipe")};
  options_.format = InputFormat::kText;
  std::thread writer([&] { write_file(in("pipe"), "through the pipe"); });
  BuildProgress last;
  options_.progress = [&](const BuildProgress& progress) {
    EXPECT_EQ(progress.total_bytes, 0);
    last = progress;
  };
  build_dataset(options_);
  writer.join();
  EXPECT_EQ(last.bytes, 20);
}

TEST(BuildProgressLine, SaysWhatIsKnown) {
  const BuildProgress half{1234, 1 << 20, 2 << 20, 8 << 20};
  EXPECT_EQ(progress_line(half), "50% of 2.0 MiB, 8.0 MiB of text, 1,234 documents");
  EXPECT_EQ(progress_line({7, 100, 100, 1 << 20}), "99% of 100 B, 1.0 MiB of text, 7 documents");
  EXPECT_EQ(progress_line({0, 2 << 20, 0, 3 << 20}), "2.0 MiB read, 3.0 MiB of text, 0 documents");
}

TEST_F(BuildInputTest, AnArraysElementsAreDocuments) {
  const std::string array =
      "\xef\xbb\xbf \n[ {\"text\": \"one, [two] {\\\"three\\\"} \\\\\"},\n"
      "{\"more\": [[1, {\"text\": \"]\"}], []],\n \"text\": \"four\"}\n,{\"text\": \"\"} , "
      "{\"text\":\"five\"}]\n \n";
  options_.inputs = {put("a.json", array)};
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("one, [two] {\"three\"} \\", "four", "five"));
  EXPECT_EQ(result.empty_documents, 1);
  EXPECT_EQ(result.bytes, static_cast<std::int64_t>(array.size()));
  options_.piece_bytes = 1;
  build_dataset(options_);
  EXPECT_EQ(built().size(), 3U);
  options_.format = InputFormat::kJsonl;
  options_.inputs = {put("array", array)};
  build_dataset(options_);
  EXPECT_EQ(built().size(), 3U);
  options_.inputs = {put("a.json", "[]"), put("b.json", "[{\"text\": \"x\"}]")};
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("x"));
}

TEST_F(BuildInputTest, ALongArrayIsReadInPieces) {
  std::string array = "[";
  std::vector<std::string> expected;
  Random random(3);
  for (int i = 0; i < 3000; ++i) {
    expected.push_back(std::to_string(i) + std::string(random.between(0, 600), 'x'));
    array += (i == 0 ? "" : ",\n") + std::string("{\"text\": \"") + expected.back() + "\"}";
  }
  options_.inputs = {put("a.json", array + "]")};
  for (const std::size_t piece : {std::size_t{100}, std::size_t{5000}, std::size_t{1} << 20}) {
    options_.piece_bytes = piece;
    build_dataset(options_);
    EXPECT_TRUE(built() == expected) << piece;
  }
}

TEST_F(BuildInputTest, BrokenArraysAreNamed) {
  const auto with = [&](const std::string& content) {
    options_.inputs = {put("a.json", content)};
    return refusal();
  };
  const std::string one = "[{\"text\": \"one\"},\n";
  EXPECT_THAT(with(one + "{\"text\": \"tw"),
              HasSubstr("a.json: element 1 (line 2): the file ends before its array does"));
  EXPECT_THAT(with(one), HasSubstr("element 1 (line 2): the file ends before its array does"));
  EXPECT_THAT(with(one + "\n{\"id\": 2}]"),
              HasSubstr("a.json: element 1 (line 3): text: found nothing, expected a value"));
  options_.piece_bytes = 7;  // pieces end where elements do
  EXPECT_THAT(with(one), HasSubstr("element 1 (line 2): the file ends before its array does"));
  EXPECT_THAT(with(one + "]"), HasSubstr("a.json: element 1 (line 2): not JSON"));
  options_.piece_bytes = 1 << 20;
  EXPECT_THAT(with("[{\"text\": \"a\"},,{\"text\": \"b\"}]"),
              HasSubstr("element 1 (line 1): not JSON"));
  EXPECT_THAT(with("[{\"text\": \"a\"}]\n\nmore"),
              HasSubstr("a.json:3: text after the end of the array"));
  EXPECT_THAT(with("[1]"), HasSubstr("element 0 (line 1): found 1, expected an object with"));
  EXPECT_THAT(with("[{\"text\": \"a\"}}]"), HasSubstr("element 0 (line 1): not JSON"));
  options_.max_line_bytes = 50;
  EXPECT_THAT(with(one + "{\"text\": \"" + std::string(100, 'x') + "\"}]"),
              HasSubstr("element 1 (line 2): is longer than 50 bytes"));
  options_.on_bad_line = OnBadLine::kSkip;
  options_.inputs = {put("a.json", one + "{\"text\": \"" + std::string(100, 'x') +
                                       "\"}, 7, {\"text\": \"three\"}, {\"text\"")};
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("one", "three"));
  EXPECT_EQ(result.bad_lines, 3);
}

TEST_F(BuildInputTest, OddLinesAreLeftOutAndCountedWhereThatIsAskedFor) {
  const std::string lines =
      "\xef\xbb\xbf{\"text\": \"one\"}\n"
      "{\"text\": \"\\ud83d\"}\n"              // a lone surrogate, as Python writes it
      "{\"text\": \"two\", \"score\": NaN}\n"  // the same
      "{\"id\": 3}\n"                          // no text
      "{\"text\": \"a\", \"text\": \"b\"}\n"   // a key twice
      "{\"text\": 7}\n"
      "{\"text\": \"\xff\"}\n"
      "{\"text\": \"cut\n"
      "{\"text\": \"ok\"}" +
      std::string(1, '\0') +
      "x\n"
      "{\"text\": \"" +
      std::string(3000, 'x') +
      "\"}\n"
      "{\"text\": \"last\"}\n";
  options_.inputs = {put("l.jsonl", lines)};
  options_.max_line_bytes = 2000;
  options_.piece_bytes = 64;
  EXPECT_THAT(refusal(), AllOf(HasSubstr("l.jsonl:2: not JSON at byte"),
                               EndsWith("--on-bad-line skip leaves such out and counts them")));
  options_.on_bad_line = OnBadLine::kSkip;
  for (const int threads : {1, 4}) {
    options_.threads = threads;
    const BuildResult result = build_dataset(options_);
    EXPECT_THAT(built(), ElementsAre("one", "last"));
    EXPECT_EQ(result.bad_lines, 9);
    EXPECT_THAT(result.bad_examples,
                ElementsAre(HasSubstr("l.jsonl:2: not JSON"), HasSubstr("l.jsonl:3: not JSON"),
                            HasSubstr("l.jsonl:4: text: found nothing"),
                            HasSubstr("l.jsonl:5: key \"text\" stands twice"),
                            HasSubstr("l.jsonl:6: text: found 7, expected a string"),
                            HasSubstr("l.jsonl:7: byte 11 of the line is no UTF-8"),
                            HasSubstr("l.jsonl:8: not JSON"), HasSubstr("l.jsonl:9: not JSON"),
                            HasSubstr("l.jsonl:10: the line is longer than 2000 bytes")));
  }
}

TEST_F(BuildInputTest, NamesOfBadLinesAreBounded) {
  std::string lines = "{\"text\": \"one\"}\n";
  for (int i = 0; i < 1000; ++i) lines += "bad\n";
  options_.inputs = {put("l.jsonl", lines)};
  options_.on_bad_line = OnBadLine::kSkip;
  const BuildResult result = build_dataset(options_);
  EXPECT_EQ(result.bad_lines, 1000);
  EXPECT_EQ(result.bad_examples.size(), 10U);
  options_.inputs = {put("m.jsonl", "bad\nbad\n")};
  options_.output = in("out/none");
  EXPECT_THAT(refusal(),
              AllOf(HasSubstr("m.jsonl: none of its 0 documents has any text, 2 bad lines "
                              "were left out, the first: "),
                    HasSubstr("m.jsonl:1: not JSON")));
}

TEST_F(BuildInputTest, AFieldMayLieInObjects) {
  options_.inputs = {
      put("l.jsonl", "{\"a\": {\"b\": {\"c\": \"deep\"}}}\n{\"a.b.c\": \"flat\"}\n")};
  options_.text_field = "a.b.c";
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("deep", "flat"));
  options_.output = in("out/other");
  options_.inputs = {put("l.jsonl", "{\"a\": {\"x\": 1}}\n")};
  EXPECT_THAT(refusal(), HasSubstr("l.jsonl:1: a.b: found nothing"));
  options_.inputs = {put("l.jsonl", "{\"a\": 3}\n")};
  EXPECT_THAT(refusal(), HasSubstr("l.jsonl:1: a: found 3, expected an object"));
}

TEST_F(BuildInputTest, LinkedFoldersAreReadOnce) {
  put("text/own/a", "own");
  put("far/b", "far");
  put("far/sub/c", "far sub");
  put("far/.store/d", "hidden there");
  fs::create_symlink(in("far"), in("far/sub/loop"));
  fs::create_symlink(in("far"), in("text/first"));
  fs::create_symlink(in("far/sub"), in("text/second"));  // read below first
  fs::create_symlink(in("text/own"), in("text/alias"));  // read under its own name
  fs::create_symlink(in("far"), in("text/own/third"));
  fs::create_symlink(folder_, in("text/up"));  // holds the root itself
  put("text/.hidden/e", "hidden");
  fs::create_symlink(in("text/.hidden"), in("text/shown"));  // not read under its own name
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("far", "far sub", "own", "hidden"));
  EXPECT_EQ(result.files, 4);
  // loop, alias, third, second, and below `up`: far and text. The output's folder is not there yet.
  EXPECT_EQ(result.repeated_folders, 6);
  EXPECT_EQ(result.hidden_entries, 2);
}

TEST_F(BuildInputTest, WhatIsLeftOutIsCounted) {
  put("text/a.go", "a");
  put("text/b.c", "b");
  put("text/sub/c.c", "c");
  put("text/.git/d", "d");
  put("text/.e", "e");
  options_.patterns = {"*.go"};
  const BuildResult result = build_dataset(options_);
  EXPECT_EQ(result.other_files, 2);
  EXPECT_EQ(result.hidden_entries, 2);
  EXPECT_EQ(result.files, 1);
}

}  // namespace
}  // namespace infinipipe
