#include "data/build.h"

#include <sys/stat.h>

#include <utility>

#include "build_testing.h"
#include "sentencepiece_model.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(BuildTest, AFileIsADocumentInTheOrderOfPaths) {
  put("text/b.go", "two");
  put("text/a/z.go", "one");
  put("text/c.go", "four");
  put("text/b/q.go", "three: b sorts before b.go, as folder by folder");
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(),
              ElementsAre("one", "three: b sorts before b.go, as folder by folder", "two", "four"));
  EXPECT_EQ(result.files, 4);
  EXPECT_EQ(result.documents, 4);
  EXPECT_EQ(result.bytes, 3 + 3 + 4 + 47);
  EXPECT_EQ(result.tokens, result.bytes + 4);
  EXPECT_EQ(result.longest, 48);
  EXPECT_EQ(result.dtype, TokenDtype::kUint16);
}

TEST_F(BuildTest, HoldsOutTheLastOfSoManyDocuments) {
  std::string lines;
  for (const char* text : {"a", "b", "", "c", "d", "e", "f", "g"}) {  // an empty one is none
    lines += R"({"text":")" + std::string(text) + "\"}\n";
  }
  put("text/a.jsonl", lines);
  options_.hold_out_every = 3;
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("a", "b", "d", "e", "g"));
  EXPECT_EQ(result.documents, 5);
  EXPECT_EQ(result.held_out_documents, 2);
  EXPECT_EQ(result.held_out_tokens, 4);
  const IndexedDataset held_out(options_.output + kHeldOut);
  ASSERT_EQ(held_out.documents(), 2);
  EXPECT_THAT(held_out.read(0), ElementsAre('c', 256));
  EXPECT_THAT(held_out.read(1), ElementsAre('f', 256));
  options_.hold_out_every = 8;
  EXPECT_THAT(error_of([&] { build_dataset(options_); }),
              HasSubstr("found 7 documents, expected at least 8"));
  EXPECT_THAT(built(), ElementsAre("a", "b", "d", "e", "g")) << "the earlier one stays";
  options_.hold_out_every = 1;
  EXPECT_THAT(error_of([&] { build_dataset(options_); }), HasSubstr("expected 2 or more"));
}

TEST_F(BuildTest, PatternsChooseFiles) {
  put("text/a.go", "a.go");
  put("text/a.c", "a.c");
  put("text/sub/b.go", "sub/b.go");
  put("text/sub/c.h", "sub/c.h");
  const auto with = [&](std::vector<std::string> patterns) {
    options_.patterns = std::move(patterns);
    build_dataset(options_);
    return built();
  };
  EXPECT_THAT(with({"*.go"}), ElementsAre("a.go", "sub/b.go"));
  EXPECT_THAT(with({"*.[ch]"}), ElementsAre("a.c", "sub/c.h"));
  EXPECT_THAT(with({"*.h", "a.c"}), ElementsAre("a.c", "sub/c.h"));
  EXPECT_THAT(with({"sub/*"}), ElementsAre("sub/b.go", "sub/c.h"));
}

TEST_F(BuildTest, FilesOfJsonLinesInAFolderHoldManyDocuments) {
  put("text/a.jsonl", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
  put("text/b.txt", "{\"text\":\"three\"}");
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("one", "two", "{\"text\":\"three\"}"));
  options_.format = InputFormat::kText;
  build_dataset(options_);
  EXPECT_EQ(built().size(), 2U);
  options_.format = InputFormat::kJsonl;
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("one", "two", "three"));
}

TEST_F(BuildTest, LinksAndOddEntriesAreSafe) {
  put("text/a/file", "a");
  put("elsewhere", "linked");
  fs::create_symlink("..", in("text/a/loop"));
  fs::create_symlink(in("text"), in("text/again"));
  fs::create_symlink(in("elsewhere"), in("text/b"));
  fs::create_symlink("nowhere", in("text/dangling"));
  ASSERT_EQ(::mkfifo(in("text/pipe").c_str(), 0600), 0);
  put("text/.git/object", "hidden");
  put("text/.hidden", "hidden");
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("a", "linked"));
  EXPECT_EQ(result.skipped_entries, 2);
}

TEST_F(BuildTest, TheInputMayBeALink) {
  put("text/a", "a");
  fs::create_directory_symlink(in("text"), in("link"));
  options_.inputs = {in("link")};
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("a"));
}

TEST_F(BuildTest, TheOutputMayLieInTheInput) {
  put("text/a", "a");
  options_.output = in("text/data");
  build_dataset(options_);
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("a"));
}

TEST_F(BuildTest, EmptyDocumentsAreSkippedAndCounted) {
  put("text/a", "");
  put("text/b", "b");
  put("text/c", "");
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("b"));
  EXPECT_EQ(result.files, 3);
  EXPECT_EQ(result.empty_documents, 2);
  EXPECT_EQ(result.documents, 1);
}

TEST_F(BuildTest, ByteTokensTakeAnyBytes) {
  const std::string odd("\xff\0\xc3\x28\r\n\xef\xbb\xbf", 9);
  put("text/a", odd);
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre(odd));
  EXPECT_EQ(result.invalid_utf8_documents, 0);
}

TEST_F(BuildTest, JsonLinesAreDocuments) {
  options_.inputs = {put("lines.json",
                         "\xef\xbb\xbf{\"text\": \"one\\n\\u00e4\", \"id\": 3}\r\n"
                         "\n"
                         "  {\"meta\": {\"text\": \"no\"}, \"text\": \"two\"}\n"
                         "{\"text\": \"\"}\n"
                         "{\"text\": \"last, without a line break\"}")};
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("one\n\xc3\xa4", "two", "last, without a line break"));
  EXPECT_EQ(result.files, 1);
  EXPECT_EQ(result.empty_documents, 1);
  EXPECT_EQ(result.bytes, static_cast<std::int64_t>(fs::file_size(options_.inputs[0])));
}

TEST_F(BuildTest, AnotherFieldMayHoldTheText) {
  options_.inputs = {put("l.jsonl", "{\"text\": 1, \"content\": \"yes\"}\n")};
  options_.text_field = "content";
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("yes"));
}

TEST_F(BuildTest, MalformedJsonLinesAreNamed) {
  const auto with_line = [&](const std::string& line) {
    options_.inputs = {
        put("l.jsonl", "{\"text\": \"one\"}\n\n" + line + "\n{\"text\": \"four\"}\n")};
    return refusal();
  };
  EXPECT_THAT(with_line("{\"text\": \"tw"), HasSubstr("l.jsonl:3: not JSON at byte"));
  EXPECT_THAT(with_line("{\"text\": \"two\"} x"), HasSubstr("l.jsonl:3: not JSON at byte"));
  EXPECT_THAT(with_line("{\"id\": 2}"),
              HasSubstr("l.jsonl:3: text: found nothing, expected a value"));
  EXPECT_THAT(with_line("{\"text\": null}"),
              HasSubstr("l.jsonl:3: text: found null, expected a string"));
  EXPECT_THAT(with_line("{\"text\": [\"a\"]}"), HasSubstr("expected a string"));
  EXPECT_THAT(with_line("\"two\""),
              HasSubstr("l.jsonl:3: found \"two\", expected an object with \"text\""));
  EXPECT_THAT(with_line("{\"text\": \"a\xff\"}"),
              HasSubstr("l.jsonl:3: byte 12 of the line is no UTF-8"));
  EXPECT_THAT(with_line(std::string(100'000, '[')), HasSubstr("l.jsonl:3: JSON nested deeper"));
}

TEST_F(BuildTest, TheFirstMistakeIsReportedWhateverTheThreads) {
  std::string lines;
  for (int i = 0; i < 5000; ++i) {
    lines += i % 1000 == 777 ? "broken\n" : "{\"text\": \"" + std::string(50, 'x') + "\"}\n";
  }
  options_.inputs = {put("l.jsonl", lines)};
  options_.piece_bytes = 256;
  for (const int threads : {1, 2, 8}) {
    options_.threads = threads;
    EXPECT_THAT(refusal(), HasSubstr("l.jsonl:778: not JSON"));
  }
}

TEST_F(BuildTest, LinesThatAreTooLongAreNamed) {
  options_.piece_bytes = 64;
  options_.max_line_bytes = 1000;
  const auto line = [](std::size_t bytes) {
    return "{\"text\":\"" + std::string(bytes - 11, 'x') + "\"}\n";
  };
  options_.inputs = {put("l.jsonl", line(40) + line(1000) + line(40))};
  EXPECT_EQ(build_dataset(options_).documents, 3);
  options_.output = in("out/other");
  options_.inputs = {put("l.jsonl", line(40) + line(1002) + line(40))};
  EXPECT_THAT(refusal(), HasSubstr("l.jsonl:2: the line is longer than 1000 bytes"));
}

TEST_F(BuildTest, MissingAndEmptyInputsAreNamed) {
  EXPECT_THAT(refusal(), HasSubstr("text: holds no file"));
  put("text/.hidden", "x");
  EXPECT_THAT(refusal(), HasSubstr("text: holds no file"));
  put("text/a.go", "");
  put("text/b.go", "");
  EXPECT_THAT(refusal(), HasSubstr("text: none of its 2 documents has any text"));
  options_.patterns = {"*.c", "*.h"};
  EXPECT_THAT(refusal(), HasSubstr("none of its 2 files fits \"*.c\", \"*.h\""));
  options_.inputs = {in("none")};
  EXPECT_THAT(refusal(), HasSubstr("none: cannot be read: No such file"));
  options_.inputs = {put("l.jsonl", "")};
  EXPECT_THAT(refusal(), HasSubstr("l.jsonl: none of its 0 documents"));
  options_.inputs = {""};
  EXPECT_THAT(refusal(), HasSubstr("data build: input: is not given"));
}

TEST_F(BuildTest, WrongOptionsAreNamed) {
  put("text/a", "a");
  options_.threads = -1;
  EXPECT_THAT(refusal(), HasSubstr("threads: found -1"));
  options_.threads = 1;
  options_.tokenizer = in("none.model");
  EXPECT_THAT(error_of([&] { build_dataset(options_); }), HasSubstr("none.model"));
  options_.tokenizer = "byte";
  options_.output = in("out/");
  EXPECT_THAT(error_of([&] { build_dataset(options_); }), HasSubstr("expected the prefix"));
}

TEST_F(BuildTest, OutputThatCannotBeWrittenIsARunError) {
  put("text/a", "a");
  put("file", "x");
  options_.output = in("file/data");
  EXPECT_THAT(error_of<RunError>([&] { build_dataset(options_); }), HasSubstr("file"));
}

TEST_F(BuildTest, TheResultDoesNotDependOnThreadsPiecesOrQueue) {
  make_corpus();
  options_.threads = 1;
  build_dataset(options_);
  const std::string expected = bytes();
  const std::vector<std::string> texts = built();
  for (const int threads : {2, 3, 16}) {
    for (const std::size_t piece : {std::size_t{29}, std::size_t{1000}, std::size_t{1} << 20}) {
      options_.threads = threads;
      options_.piece_bytes = piece;
      options_.queue_bytes = piece == 29 ? 1 : 4096;
      build_dataset(options_);
      ASSERT_EQ(bytes(), expected) << threads << " threads, pieces of " << piece;
    }
  }
  EXPECT_EQ(built(), texts);
}

TEST_F(BuildTest, ProgressRisesToTheTotal) {
  make_corpus();
  options_.piece_bytes = 1000;
  BuildProgress last;
  int calls = 0;
  options_.progress = [&](const BuildProgress& progress) {
    EXPECT_GE(progress.bytes, last.bytes);
    EXPECT_GE(progress.documents, last.documents);
    EXPECT_GE(progress.total_bytes, progress.bytes);
    last = progress;
    ++calls;
  };
  const BuildResult result = build_dataset(options_);
  EXPECT_GT(calls, 200);
  EXPECT_EQ(last.bytes, last.total_bytes);
  EXPECT_EQ(last.bytes, result.bytes);
  EXPECT_EQ(last.documents, result.documents);
}

TEST_F(BuildTest, ASecondOneIntoTheSameNameIsRefusedWhileTheFirstRuns) {
  make_corpus();
  put("other/a", "another corpus");
  fs::create_symlink(in("out"), in("alias"));
  BuildOptions second = options_;
  second.inputs = {in("other")};
  const std::string expected = "is being written by another process, expected a name";
  bool refused = false;
  options_.progress = [&](const BuildProgress&) {
    if (std::exchange(refused, true)) return;
    EXPECT_THAT(error_of<RunError>([&] { build_dataset(second); }),
                HasSubstr("out/data.bin: " + expected));
    second.output = in("alias/data");  // the same folder by another name
    EXPECT_THAT(error_of<RunError>([&] { build_dataset(second); }), HasSubstr(expected));
    second.output = in("out/neighbour");
    build_dataset(second);
  };
  build_dataset(options_);
  EXPECT_TRUE(refused);
  EXPECT_GT(built().size(), 100U);
  EXPECT_EQ(std::distance(fs::directory_iterator(in("out")), {}), 4) << "the lock is removed";
  second.output = options_.output;
  build_dataset(second);
  EXPECT_THAT(built(), ElementsAre("another corpus"));
}

TEST_F(BuildTest, ALinkInTheOutputsPlaceStaysOne) {
  put("text/a", "text");
  make_folder(in("out"));
  make_folder(in("far"));
  fs::create_symlink(in("far/tokens"), in("out/data.bin"));
  build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("text"));
  EXPECT_TRUE(fs::is_symlink(in("out/data.bin")));
  EXPECT_TRUE(fs::is_regular_file(in("far/tokens")));
  EXPECT_EQ(std::distance(fs::directory_iterator(in("far")), {}), 1);
  for (const char* suffix : {".bin", ".idx"}) {
    const std::string link = in("out/lost") + suffix;
    options_.output = in("out/lost");
    fs::create_symlink(in("none/file"), link);
    EXPECT_THAT(error_of<RunError>([&] { build_dataset(options_); }),
                HasSubstr(link + ": is a link to " + in("none/file")));
    EXPECT_TRUE(fs::is_symlink(link));
    fs::remove(link);
    fs::create_symlink("/dev/null", link);
    EXPECT_THAT(error_of<RunError>([&] { build_dataset(options_); }),
                HasSubstr("is no regular file"));
    EXPECT_TRUE(fs::is_character_file("/dev/null"));
    fs::remove(link);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(in("out")), {}), 2) << "the first build's";
}

TEST_F(BuildTest, AProgressCallMayStopIt) {
  make_corpus();
  options_.progress = [](const BuildProgress& progress) {
    if (progress.documents > 20) throw RunError("data build", "stopped");
  };
  EXPECT_THAT(error_of<RunError>([&] { build_dataset(options_); }), HasSubstr("stopped"));
  EXPECT_TRUE(fs::is_empty(in("out")));
}

class SentencePieceBuildTest : public BuildTest {
 protected:
  void SetUp() override {
    BuildTest::SetUp();
    const auto model = train_sentencepiece(in("model"));
    if (!model) GTEST_SKIP() << "SentencePiece or spm_train is not installed";
    options_.tokenizer = *model;
  }
};

TEST_F(SentencePieceBuildTest, TextComesBackAndInvalidBytesAreCounted) {
  put("text/a", "func return nil \xe2\x82\xac");
  put("text/b", "if \xff\xfe nil");
  put("text/c", "token");
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("func return nil \xe2\x82\xac",
                                   "if \xef\xbf\xbd\xef\xbf\xbd nil", "token"));
  EXPECT_EQ(result.invalid_utf8_documents, 1);
  EXPECT_EQ(result.invalid_utf8_bytes, 2);
  EXPECT_LT(result.tokens, result.bytes);
}

TEST_F(SentencePieceBuildTest, ThreadsAndQueueDoNotMatter) {
  make_corpus();
  options_.piece_bytes = 3000;
  options_.threads = 1;
  build_dataset(options_);
  const std::string expected = bytes();
  options_.threads = 8;
  options_.queue_bytes = 10'000;
  build_dataset(options_);
  EXPECT_EQ(bytes(), expected);
}

TEST_F(SentencePieceBuildTest, ATextThatIsTooLongIsNamedOrCounted) {
  put("text/a", "token");
  put("text/b", std::string(1001, 'x'));
  put("text/c.jsonl", "{\"text\": \"" + std::string(1001, 'y') + "\"}\n{\"text\": \"nil\"}\n");
  options_.max_text_bytes = 1000;
  EXPECT_THAT(refusal(), HasSubstr("text/b: is a text of over 1000 bytes, expected shorter ones"));
  options_.on_bad_line = OnBadLine::kSkip;
  const BuildResult result = build_dataset(options_);
  EXPECT_THAT(built(), ElementsAre("token", "nil"));
  EXPECT_EQ(result.bad_lines, 2);
  EXPECT_THAT(result.bad_examples,
              ElementsAre(HasSubstr("text/b: is a text of over 1000 bytes"),
                          HasSubstr("text/c.jsonl:1: is a text of 1001 bytes")));
}

// The ids of a long text are those that the library gives for it in one piece: a cut would put a
// space in, lose white space, or choose other pieces.
class LongTextTest : public BuildTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(LongTextTest, HasTheIdsOfTheWhole) {
  const auto model = train_sentencepiece(in("model"), GetParam());
  if (!model) GTEST_SKIP() << "SentencePiece or spm_train is not installed";
  options_.tokenizer = *model;
  static constexpr const char* kWords[] = {"func", "return", "err",          "nil", "package",
                                           "  ",   "token",  "\xe2\x82\xac", "((",  "\xc3\xa4"};
  Random random(19);
  std::string text;
  while (text.size() < 1'300'000) {
    text += kWords[random.between(0, 9)];
    const bool lines = text.size() < 100'000;  // then over a MiB without a line break
    text += lines && random.between(0, 9) == 0 ? "\n" : random.between(0, 2) == 0 ? "" : " ";
  }
  put("text/long.txt", text);
  std::string escaped;
  for (const char c : text) escaped += c == '\n' ? std::string("\\n") : std::string(1, c);
  put("text/z.jsonl", "{\"text\": \"" + escaped + "\"}\n");
  build_dataset(options_);
  const auto tokenizer = make_tokenizer(*model);
  std::vector<std::int64_t> expected = tokenizer->encode(text);
  expected.push_back(tokenizer->end_of_document());
  const IndexedDataset data(options_.output);
  ASSERT_EQ(data.documents(), 2);
  EXPECT_TRUE(data.read(0) == expected) << data.length(0) << " and " << expected.size();
  EXPECT_TRUE(data.read(1) == expected) << data.length(1) << " and " << expected.size();
}

INSTANTIATE_TEST_SUITE_P(Models, LongTextTest,
                         ::testing::Values("", "--add_dummy_prefix=false", "--model_type=unigram",
                                           "--model_type=unigram --add_dummy_prefix=false "
                                           "--normalization_rule_name=nmt_nfkc"));

}  // namespace
}  // namespace infinipipe
