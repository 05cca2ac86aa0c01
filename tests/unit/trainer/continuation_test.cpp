#include "trainer/continuation.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace infinipipe {
namespace {

// As SentencePiece decodes: ids below 256 are bytes, each of which is U+FFFD until its character is
// whole; 300 is " world", whose space goes where it begins a text.
class PieceTokenizer final : public Tokenizer {
 public:
  std::string name() const override { return "pieces"; }
  std::int64_t vocab_size() const override { return 400; }
  std::int64_t end_of_document() const override { return 399; }
  bool needs_utf8() const override { return true; }
  std::vector<std::int64_t> encode(std::string_view text) const override {
    return {text.begin(), text.end()};
  }
  std::string decode(std::span<const std::int64_t> ids) const override {
    std::string text;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] == 300) {
        text += text.empty() ? "world" : " world";
      } else if (ids[i] == 0xc3 && i + 1 < ids.size() && ids[i + 1] == 0xa4) {
        text += "\xc3\xa4";
        ++i;
      } else if (ids[i] >= 128) {
        text += "\xef\xbf\xbd";
      } else {
        text += static_cast<char>(ids[i]);
      }
    }
    return text;
  }
};

TEST(Continuation, GoesOnAfterACharacterOfSeveralTokens) {
  const PieceTokenizer tokenizer;
  Continuation text(tokenizer, {'a'});
  EXPECT_EQ(text.add('b'), "b");
  EXPECT_EQ(text.add(0xc3), "") << "may yet become a character";
  EXPECT_EQ(text.add(0xa4), "\xc3\xa4");
  EXPECT_EQ(text.add('c'), "c");
  EXPECT_EQ(text.add(0xc3), "");
  EXPECT_EQ(text.add('d'),
            "\xef\xbf\xbd"
            "d")
      << "it did not";
  EXPECT_EQ(text.add(0xc3), "");
  EXPECT_EQ(text.finish(), "\xef\xbf\xbd");
  EXPECT_EQ(text.text(),
            "b\xc3\xa4"
            "c\xef\xbf\xbd"
            "d\xef\xbf\xbd");
}

TEST(Continuation, KeepsTheSpaceBetweenPromptAndText) {
  const PieceTokenizer tokenizer;
  EXPECT_EQ(Continuation(tokenizer, {'a'}).add(300), " world");
  EXPECT_EQ(Continuation(tokenizer, {}).add(300), "world");
}

TEST(Continuation, OfBytesWaitsForWholeCharacters) {
  const auto tokenizer = make_tokenizer("byte");
  Continuation text(*tokenizer, tokenizer->encode("x"));
  EXPECT_EQ(text.add(0xe2), "");
  EXPECT_EQ(text.add(0x82), "");
  EXPECT_EQ(text.add(0xac), "\xe2\x82\xac");
  EXPECT_EQ(text.add(0xff), "\xff") << "never a character: given out as it is";
  EXPECT_EQ(text.add(0xe2), "");
  EXPECT_EQ(text.finish(), "\xe2");
  EXPECT_EQ(text.finish(), "");
}

TEST(Continuation, ALongTextIsThatOfAllItsTokens) {
  const PieceTokenizer tokenizer;
  std::vector<std::int64_t> tokens = {'a', 300};
  const std::size_t before = tokenizer.decode(tokens).size();
  Continuation text(tokenizer, tokens);
  std::string pieces;
  for (int i = 0; i < 3000; ++i) {
    const std::int64_t next = i % 7 == 2   ? 0xc3
                              : i % 7 == 3 ? 0xa4
                              : i % 5 == 0 ? 300
                                           : 'a' + i % 26;
    tokens.push_back(next);
    pieces += text.add(next);
  }
  pieces += text.finish();
  EXPECT_EQ(pieces, tokenizer.decode(tokens).substr(before));
  EXPECT_EQ(text.text(), pieces);
}

}  // namespace
}  // namespace infinipipe
