#include "data/tokenizer.h"

#include "sentencepiece_model.h"
#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Lt;
using Ids = std::vector<std::int64_t>;

TEST(ByteTokenizer, EveryByteIsItsToken) {
  const auto tokenizer = make_tokenizer("byte");
  EXPECT_EQ(tokenizer->name(), "byte");
  EXPECT_EQ(tokenizer->vocab_size(), 257);
  EXPECT_EQ(tokenizer->end_of_document(), 256);
  EXPECT_FALSE(tokenizer->needs_utf8());
  EXPECT_THAT(tokenizer->encode(std::string("a\0\xff\n", 4)), ElementsAre(97, 0, 255, 10));
  EXPECT_THAT(tokenizer->encode(""), IsEmpty());
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(all)), all);
}

TEST(ByteTokenizer, EndsOfDocumentsDecodeToNothing) {
  EXPECT_EQ(make_tokenizer("byte")->decode(Ids{256, 104, 256, 105, 256}), "hi");
}

TEST(ByteTokenizer, RefusesIdsOutsideTheVocabulary) {
  const auto tokenizer = make_tokenizer("byte");
  EXPECT_THAT(error_of([&] { tokenizer->decode(Ids{1, 257}); }), HasSubstr("found id 257"));
  EXPECT_THAT(error_of([&] { tokenizer->decode(Ids{-1}); }), HasSubstr("expected 0 to 256"));
}

class SentencePieceTest : public FolderTest {};

TEST_F(SentencePieceTest, TextComesBack) {
  const auto model = train_sentencepiece(in("model"));
  if (!model) GTEST_SKIP() << "SentencePiece or spm_train is not installed";
  const auto tokenizer = make_tokenizer(*model);
  EXPECT_EQ(tokenizer->name(), *model);
  EXPECT_TRUE(tokenizer->needs_utf8());
  EXPECT_GT(tokenizer->vocab_size(), 260);
  EXPECT_EQ(tokenizer->end_of_document(), 2) << "</s> of a model trained by default";

  const std::string text = "func return stage \xc3\xa4 \xe2\x82\xac token";
  Ids ids = tokenizer->encode(text);
  EXPECT_LT(ids.size(), text.size());
  EXPECT_THAT(ids, Each(AllOf(Ge(0), Lt(tokenizer->vocab_size()))));
  EXPECT_EQ(tokenizer->decode(ids), text);
  ids.push_back(tokenizer->end_of_document());
  EXPECT_EQ(tokenizer->decode(ids), text);
  EXPECT_THAT(tokenizer->encode(""), IsEmpty());
}

TEST_F(SentencePieceTest, InvalidBytesBecomeReplacementCharacters) {
  const auto model = train_sentencepiece(in("model"));
  if (!model) GTEST_SKIP() << "SentencePiece or spm_train is not installed";
  const auto tokenizer = make_tokenizer(*model);
  EXPECT_EQ(tokenizer->encode("if \xff\xe2\x82 nil"),
            tokenizer->encode("if \xef\xbf\xbd\xef\xbf\xbd nil"));
}

TEST_F(SentencePieceTest, AModelWithoutAnEndGetsOneIdMore) {
  const auto model = train_sentencepiece(in("model"), "--eos_id=-1");
  if (!model) GTEST_SKIP() << "SentencePiece or spm_train is not installed";
  const auto with_end = make_tokenizer(*train_sentencepiece(in("other")));
  const auto tokenizer = make_tokenizer(*model);
  EXPECT_EQ(tokenizer->end_of_document(), tokenizer->vocab_size() - 1);
  EXPECT_NE(with_end->end_of_document(), with_end->vocab_size() - 1);
  Ids ids = tokenizer->encode("func");
  ids.push_back(tokenizer->end_of_document());
  EXPECT_EQ(tokenizer->decode(ids), "func");
  EXPECT_THAT(error_of([&] { tokenizer->decode(Ids{tokenizer->vocab_size()}); }),
              HasSubstr("found id"));
}

TEST_F(SentencePieceTest, WhatIsNoModelIsRefused) {
  const auto refusal = [](const std::string& name) {
    return error_of([&] { make_tokenizer(name); });
  };
  EXPECT_THAT(refusal(""), HasSubstr("expected \"byte\" or the path of a model"));
  const auto absent = HasSubstr("this build has no SentencePiece");
  EXPECT_THAT(refusal(in("none")), AnyOf(absent, HasSubstr("none: cannot be opened")));
  for (const std::string& content :
       {std::string(), std::string("no model"), std::string(5000, '\xff')}) {
    EXPECT_THAT(refusal(put("broken", content)),
                AnyOf(absent, HasSubstr("is no SentencePiece model")));
  }
}

}  // namespace
}  // namespace infinipipe
