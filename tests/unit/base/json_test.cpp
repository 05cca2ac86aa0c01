#include "infinipipe/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Json, RefusesDuplicateKeys) {
  EXPECT_THAT(message_of([] { parse_json(R"({"a": 1, "a": 2})", "f.json"); }),
              HasSubstr("f.json: key \"a\" stands twice"));
}

TEST(Json, RefusesDeepNesting) {
  EXPECT_THAT(message_of([] { parse_json(std::string(100000, '['), "f.json"); }),
              HasSubstr("nested deeper than 64"));
}

TEST(Json, TheWholeTextIsTheDocument) {
  for (const std::string& rest :
       {std::string(1, '\0'), std::string("\0x", 2), std::string("\0{}", 3)}) {
    EXPECT_THAT(message_of([&] { parse_json("{\"a\": 1}" + rest, "f.json"); }),
                HasSubstr("f.json: not JSON at byte 9: a NUL"));
  }
  EXPECT_THAT(message_of([] { parse_json("{} {}", "f.json"); }), HasSubstr("not JSON at byte"));
  EXPECT_THAT(message_of([] { parse_json(std::string(3, '\0'), "f.json"); }), HasSubstr("a NUL"));
}

TEST(Json, NamesTheByteOfAMistake) {
  EXPECT_THAT(message_of([] { parse_json("{\"a\": }", "f.json"); }),
              HasSubstr("f.json: not JSON at byte 7"));
}

TEST(Json, RefusesInvalidUtf8) {
  EXPECT_THAT(message_of([] { parse_json("{\"a\": \"\xff\"}", "f.json"); }), HasSubstr("not JSON"));
}

TEST(Json, CanonicalTextAndHashIgnoreKeyOrder) {
  const Json a = parse_json(R"({"x": 1, "y": [1.5, null]})", "a");
  const Json b = parse_json(R"({"y":[1.5,null],"x":1})", "b");
  EXPECT_EQ(canonical_json(a), canonical_json(b));
  EXPECT_EQ(hash_json(a), hash_json(b));
  EXPECT_EQ(hash_json(a).size(), 32U);
}

TEST(JsonView, ComplaintsNameTheFieldAndWhatWasFound) {
  const Json json = parse_json(R"({"a": {"b": [1, -2, "x"]}})", "f.json");
  const JsonView view(json, "f.json");
  EXPECT_THAT(message_of([&] { view.at("a").at("b").at(1).number(0); }),
              HasSubstr("f.json: a.b[1]: found -2, expected a finite number >= 0"));
  EXPECT_THAT(message_of([&] { view.at("a").at("b").at(2).integer(); }),
              HasSubstr("a.b[2]: found \"x\", expected a whole number"));
  EXPECT_THAT(message_of([&] { view.at("a").at("z"); }),
              HasSubstr("f.json: a.z: found nothing, expected a value; add it"));
}

TEST(JsonView, WholeNumbersMayBeWrittenAsFloats) {
  const Json json = parse_json(R"([3.0, 3.5, 1e300, 18446744073709551615])", "f");
  const JsonView view(json, "f");
  EXPECT_EQ(view.at(std::size_t{0}).integer(), 3);
  EXPECT_THROW(view.at(1).integer(), InputError);
  EXPECT_THROW(view.at(2).integer(), InputError);
  EXPECT_THROW(view.at(3).integer(), InputError);
}

TEST(JsonView, ChecksFormatAndVersion) {
  const Json json = parse_json(R"({"format": "infinipipe.plan", "version": 2})", "p.json");
  EXPECT_THAT(message_of([&] {
                check_format({json, "p.json"}, "infinipipe.plan");
              }),
              HasSubstr("p.json: version: found 2, expected 1"));
  EXPECT_THROW(check_format({json, "p.json"}, "infinipipe.profile"), InputError);
}

}  // namespace
}  // namespace infinipipe
