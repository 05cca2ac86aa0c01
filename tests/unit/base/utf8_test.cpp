#include "base/utf8.h"

#include <gtest/gtest.h>

#include <tuple>

namespace infinipipe {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

TEST(Utf8, AcceptsEveryLengthAndTheEdges) {
  for (const std::string_view text :
       {"", "plain", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "a\xc3\xa4 \xe2\x82\xac."}) {
    EXPECT_EQ(find_invalid_utf8(text), kNone) << text;
    EXPECT_EQ(repair_utf8(text).text, text);
    EXPECT_EQ(repair_utf8(text).invalid_bytes, 0);
  }
  EXPECT_EQ(find_invalid_utf8(std::string_view("\0", 1)), kNone);
}

TEST(Utf8, ReplacesEveryMaximalInvalidPartOnce) {
  const std::string r = "\xef\xbf\xbd";
  // Text, position of the first invalid byte, repaired text, invalid bytes.
  const std::tuple<std::string, std::size_t, std::string, int> cases[] = {
      {"a\x80z", 1, "a" + r + "z", 1},            // a lone continuation
      {"\xc0\xaf", 0, r + r, 2},                  // overlong
      {"\xe0\x80\x80", 0, r + r + r, 3},          // overlong
      {"\xed\xa0\x80", 0, r + r + r, 3},          // a surrogate
      {"\xf5\x80", 0, r + r, 2},                  // above U+10FFFF
      {"\xf4\x90\x80\x80", 0, r + r + r + r, 4},  // above U+10FFFF
      {"ab\xe2\x82", 2, "ab" + r, 2},             // cut at the end
      {"\xf0\x9f\x98z", 0, r + "z", 3},           // cut in the middle
      {"\xe2\x82\xac\xff\xe2\x82\xac", 3, "\xe2\x82\xac" + r + "\xe2\x82\xac", 1},
      {"\xc3\xc3\xa4", 0, r + "\xc3\xa4", 1},
  };
  for (const auto& [text, at, repaired, bytes] : cases) {
    EXPECT_EQ(find_invalid_utf8(text), at) << text;
    EXPECT_EQ(repair_utf8(text).text, repaired) << text;
    EXPECT_EQ(repair_utf8(text).invalid_bytes, bytes) << text;
  }
}

TEST(Utf8, CutsBetweenCharacters) {
  EXPECT_EQ(whole_characters("abc"), 3U);
  EXPECT_EQ(whole_characters("ab\xc3"), 2U);
  EXPECT_EQ(whole_characters("ab\xc3\xa4"), 4U);
  EXPECT_EQ(whole_characters("ab\xe2\x82"), 2U);
  EXPECT_EQ(whole_characters("a\xf0\x9f\x98"), 1U);
  EXPECT_EQ(whole_characters("a\xf0\x9f\x98\x80"), 5U);
  EXPECT_EQ(whole_characters("\x80\x80\x80\x80\x80"), 5U);  // no character to keep whole
  EXPECT_EQ(whole_characters("ab\xff"), 3U);
  EXPECT_EQ(whole_characters(""), 0U);
}

}  // namespace
}  // namespace infinipipe
