// The finder of one field agrees with the parser of whole documents on what is JSON and what the
// field holds.
#include "data/json_field.h"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/random.h"
#include "base/utf8.h"
#include "infinipipe/base/json.h"
#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

std::string whole(std::string_view raw, std::size_t bytes) {
  JsonStringReader reader(raw);
  std::string text;
  while (!reader.at_end()) {
    const std::string_view part = reader.next(bytes);
    EXPECT_FALSE(part.empty());
    EXPECT_LE(part.size(), std::min(bytes, raw.size()) + 3);
    text += part;
  }
  return text;
}

std::string found(std::string_view text, std::string_view field = "text") {
  const std::string_view raw = find_json_string(text, field, "l:1");
  const std::string value = whole(raw, std::string_view::npos);
  for (const std::size_t bytes : {1, 2, 7}) EXPECT_EQ(whole(raw, bytes), value);
  return value;
}

std::string refusal(std::string_view text, std::string_view field = "text") {
  return error_of([&] { find_json_string(text, field, "l:1"); });
}

TEST(JsonField, EscapesAreUndone) {
  EXPECT_EQ(found(R"({"text": "a\"\\\/\b\f\n\r\tz"})"), "a\"\\/\b\f\n\r\tz");
  EXPECT_EQ(found(R"({"text": "\u0041\u00e9\u20ac\uD83D\ude00"})"),
            "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  EXPECT_EQ(found(R"({"text": "a\u0000b"})"), std::string("a\0b", 3));
  EXPECT_EQ(found(R"({"te\u0078t": "by an escaped name"})"), "by an escaped name");
  EXPECT_EQ(found(R"({"text": ""})"), "");
}

TEST(JsonField, AMistakeIsNamedByItsByte) {
  EXPECT_THAT(refusal("{\"text\": \"tw"), HasSubstr("l:1: not JSON at byte 13, expected"));
  EXPECT_THAT(refusal("{\"text\": \"a\"} x"), HasSubstr("not JSON at byte 15 near 'x'"));
  EXPECT_THAT(refusal("{\"text\": \"a\\ud83d\"}"), HasSubstr("not JSON at byte 12 near '\\ud83d"));
  EXPECT_THAT(refusal("{\"n\": NaN}"), HasSubstr("not JSON at byte 7 near 'NaN}'"));
  EXPECT_THAT(refusal("{\"n\": 1e999}"), HasSubstr("not JSON at byte 7 near '1e999}'"));
  EXPECT_THAT(refusal("{\"a\": {\"b\": 1, \"c\": 2, \"\\u0062\": 3}}"),
              HasSubstr("key \"b\" stands twice, expected each key once; remove one"));
  EXPECT_THAT(refusal(std::string(65, '[')), HasSubstr("JSON nested deeper than 64"));
  EXPECT_THAT(refusal("{\"a\": \"" + std::string(60, 'x') + "\"}", "a.b"),
              HasSubstr("l:1: a: found \"" + std::string(44, 'x') + "..., expected an object"));
}

// What parse_json() makes of it; nothing where it or the field's rule refuses.
std::optional<std::string> expected(const std::string& text, const std::string& field) {
  try {
    const Json json = parse_json(text, "l:1");
    if (!json.is_object()) return {};
    const Json* at = json.contains(field) ? &json[field] : nullptr;
    if (at == nullptr) {
      at = &json;
      for (std::size_t begin = 0;;) {
        const std::size_t dot = field.find('.', begin);
        const std::string step = field.substr(begin, dot - begin);
        if (!at->is_object() || !at->contains(step)) return {};
        at = &(*at)[step];
        if (dot == std::string::npos) break;
        begin = dot + 1;
      }
    }
    if (!at->is_string()) return {};
    return at->get<std::string>();
  } catch (const InputError&) {
    return {};
  }
}

class Drawn {
 public:
  explicit Drawn(std::int64_t seed) : random_(static_cast<std::uint64_t>(seed)) {}

  std::string document() {
    std::string text = object(0);
    for (std::int64_t edits = random_.between(0, 3); edits > 1; --edits) {
      const auto at =
          static_cast<std::size_t>(random_.between(0, static_cast<std::int64_t>(text.size()) - 1));
      static const std::string kBytes = "{}[]\",:\\u0e-+.tfn \n1d8";
      const char byte = kBytes[static_cast<std::size_t>(
          random_.between(0, static_cast<std::int64_t>(kBytes.size()) - 1))];
      if (random_.between(0, 2) == 0) {
        text.erase(at, 1);
      } else if (random_.between(0, 1) == 0) {
        text.insert(at, 1, byte);
      } else {
        text[at] = byte;
      }
      if (text.empty()) break;
    }
    return text;
  }

 private:
  template <std::size_t N>
  std::string one_of(const char* const (&choices)[N]) {
    return choices[random_.between(0, static_cast<std::int64_t>(N) - 1)];
  }
  std::string blank() { return one_of({"", "", " ", "\t", "\r\n"}); }
  std::string value(int depth) {
    const std::int64_t kind = random_.between(0, depth > 3 ? 2 : 5);
    if (kind <= 1) {
      return one_of({"\"\"", "\"word\"", "\"\\n\\u0041\"", "\"\\ud83d\\ude00\"", "\"\\ud83d\"",
                     "\"\xe2\x82\xac\"", "\"a\\\\\"", "\"\\\"\""});
    }
    if (kind == 2) {
      return one_of({"0", "-1", "12.5e-3", "1E+4", "01", "1.", "-", "1e400", "1e-400", "null",
                     "true", "false", "NaN"});
    }
    if (kind > 3) return object(depth + 1);
    std::string text = "[" + blank();
    for (std::int64_t i = random_.between(0, 3), first = i; i > 0; --i) {
      text += (i == first ? "" : ",") + blank() + value(depth + 1) + blank();
    }
    return text + "]";
  }
  std::string object(int depth) {
    std::string text = "{" + blank();
    for (std::int64_t i = random_.between(0, 3), first = i; i > 0; --i) {
      text += (i == first ? "" : ",") + blank() +
              one_of({"\"a\"", "\"b\"", "\"a.b\"", "\"\\u0061\"", "\"c\"", "\"d\"", "\"\""}) +
              blank() + ":" + blank() + value(depth) + blank();
    }
    return text + "}";
  }

  Random random_;
};

TEST(JsonField, AgreesWithTheParserOfWholeDocuments) {
  int accepted = 0;
  int refused = 0;
  for (std::int64_t seed = 0; seed < 20'000; ++seed) {
    const std::string text = Drawn(seed).document();
    if (find_invalid_utf8(text) != std::string::npos) continue;
    for (const std::string field : {"a", "a.b", "b.a.c"}) {
      const auto right = expected(text, field);
      std::optional<std::string> ours;
      try {
        ours = found(text, field);
      } catch (const InputError&) {
      }
      ASSERT_EQ(ours, right) << field << " of " << text;
      ++(right ? accepted : refused);
    }
  }
  EXPECT_GT(accepted, 500);
  EXPECT_GT(refused, 5000);
}

TEST(JsonValues, AreFoundBesideTheFieldWhateverTheyHold) {
  constexpr std::array<std::string_view, 3> kOthers = {"list", "none", "gone"};
  const auto of = [&](std::string_view text, std::string_view field) {
    return find_json_values(text, field, kOthers, "here");
  };
  const std::string_view text =
      R"({"a": {"b": 7, "list": "inner"}, "l\u0069st": [{"x": 1}], "none": null})";
  EXPECT_EQ(of(text, "a.b").field, "7");
  EXPECT_EQ(of(text, "a.c").field, "");
  EXPECT_EQ(of(text, "b.a").field, "");
  EXPECT_EQ(of(text, "none").field, "");
  EXPECT_EQ(of(text, "list").field, R"([{"x": 1}])");
  EXPECT_THAT(of(text, "a.b").others, ::testing::ElementsAre(R"([{"x": 1}])", "", ""));
  EXPECT_THROW(of(R"({"list": 1, "list": 2})", "a"), InputError);
  EXPECT_THROW(of("[]", "a"), InputError);
}

}  // namespace
}  // namespace infinipipe
