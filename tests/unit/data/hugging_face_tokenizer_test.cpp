// A small tokenizer.json, run by Hugging Face's library.
#include "data/hugging_face_tokenizer.h"

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "data/build.h"
#include "infinipipe/base/json.h"
#include "infinipipe/data/indexed_dataset.h"
#include "support/tokenizer_json.h"
#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Bytes as letters of their own, "ab" as one, two special tokens, and <s> before every text.
Json small_tokenizer() {
  return tokenizer_json(
      {{"a", 0}, {"b", 1}, {"ab", 2}, {"<", 3}, {"s", 4}, {">", 5}, {"Ġ", 6}, {"/", 7}},
      Json::array({Json::array({"a", "b"})}), {"<s>", "</s>"}, "<s>");
}

class HuggingFaceTokenizerTest : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    put("tokenizer.json", small_tokenizer().dump());
  }
};

TEST_F(HuggingFaceTokenizerTest, EncodesAndDecodes) {
  const auto tokenizer = make_tokenizer(in("tokenizer.json"));
  EXPECT_EQ(tokenizer->name(), in("tokenizer.json"));
  EXPECT_EQ(tokenizer->vocab_size(), 10);
  EXPECT_THAT(tokenizer->begin_of_document(), ElementsAre(8));
  EXPECT_EQ(tokenizer->end_of_document(), 9);  // by its usual name
  EXPECT_TRUE(tokenizer->needs_utf8());
  EXPECT_THAT(tokenizer->encode("abba b"), ElementsAre(2, 1, 0, 6, 1));
  EXPECT_THAT(tokenizer->encode(""), ElementsAre());
  const std::vector<std::int64_t> ids = {8, 2, 6, 1, 9};
  EXPECT_EQ(tokenizer->decode(ids), "ab b");
  const std::vector<std::int64_t> outside = {10};
  EXPECT_THAT(error_of([&] { tokenizer->decode(outside); }), HasSubstr("found id 10"));
}

TEST_F(HuggingFaceTokenizerTest, SpecialTokensInTextAreTextUnlessAsked) {
  EXPECT_THAT(make_tokenizer(folder_)->encode("a</s>"), ElementsAre(0, 3, 7, 4, 5));
  EXPECT_THAT(make_tokenizer(folder_, {.special_in_text = true})->encode("a</s>"),
              ElementsAre(0, 9));
}

TEST_F(HuggingFaceTokenizerTest, TheEndIsWhatTheFilesBesideSay) {
  put("config.json", R"({"eos_token_id": [6, 7]})");
  EXPECT_EQ(make_tokenizer(folder_)->end_of_document(), 6);
  put("tokenizer_config.json", R"({"eos_token": {"content": "ab", "lstrip": false}})");
  EXPECT_EQ(make_tokenizer(folder_)->end_of_document(), 2);
  put("tokenizer_config.json", R"({"eos_token": "b"})");
  EXPECT_EQ(make_tokenizer(folder_)->end_of_document(), 1);
}

TEST_F(HuggingFaceTokenizerTest, ManyThreadsShareFewWorkers) {
  const auto tokenizer = make_tokenizer(folder_);
  std::vector<std::thread> threads;
  std::vector<std::vector<std::int64_t>> found(8);
  for (std::size_t i = 0; i < found.size(); ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round) found[i] = tokenizer->encode(std::string(i, 'a'));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].size(), i);
}

TEST_F(HuggingFaceTokenizerTest, DocumentsBeginAndEndAsTheModelHasThem) {
  put("texts/1.txt", "ab");
  put("texts/2.txt", "");
  put("texts/3.txt", "b a");
  BuildOptions options;
  options.inputs = {in("texts")};
  options.output = in("out");
  options.tokenizer = folder_;
  const BuildResult result = build_dataset(options);
  EXPECT_EQ(result.documents, 2);
  EXPECT_EQ(result.empty_documents, 1);
  const IndexedDataset data(in("out"));
  EXPECT_THAT(data.read(0), ElementsAre(8, 2, 9));
  EXPECT_THAT(data.read(1), ElementsAre(8, 1, 6, 0, 9));
}

TEST_F(HuggingFaceTokenizerTest, WhatCannotBeReadIsOneLine) {
  put("tokenizer.json", "{}");
  EXPECT_THAT(error_of([&] { make_tokenizer(folder_); }),
              HasSubstr("expected a tokenizer.json of Hugging Face's"));
  put("tokenizer.json", std::string(200'000, '['));
  EXPECT_THAT(error_of([&] { make_tokenizer(folder_); }), HasSubstr("tokenizer.json"));
  EXPECT_THAT(error_of([&] { make_tokenizer(in("empty")); }), HasSubstr("empty"));
  make_folder(in("empty"));
  EXPECT_THAT(error_of([&] { make_tokenizer(in("empty")); }),
              HasSubstr("is a folder without tokenizer.json and tokenizer.model"));
}

TEST_F(HuggingFaceTokenizerTest, WithoutTheLibraryItSaysWhatToInstall) {
  put("python", "#!/bin/sh\nexec /usr/bin/python3 -S \"$@\"\n");  // no packages
  std::filesystem::permissions(in("python"), std::filesystem::perms::owner_all);
  ::setenv("INFINIPIPE_PYTHON", in("python").c_str(), 1);
  const std::string missing = error_of<RunError>([&] { make_tokenizer(folder_); });
  EXPECT_THAT(missing, HasSubstr("the Python package tokenizers is missing from"));
  EXPECT_THAT(missing, HasSubstr("pip install tokenizers==0."));
  ::setenv("INFINIPIPE_PYTHON", "/nowhere/python", 1);
  EXPECT_THAT(error_of<RunError>([&] { make_tokenizer(folder_); }),
              HasSubstr("/nowhere/python: cannot be started"));
  ::setenv("INFINIPIPE_PYTHON", "/bin/false", 1);
  EXPECT_THAT(error_of<RunError>([&] { make_tokenizer(folder_); }),
              HasSubstr("ended before it answered"));
  ::unsetenv("INFINIPIPE_PYTHON");
}

}  // namespace
}  // namespace infinipipe
