#include "core/data_sets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/limits.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using Sets = std::vector<WeightedData>;

std::string error_of(const std::string& text) {
  try {
    parse_data_sets(text);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

std::string toml_path(const std::string& value) {
  try {
    return config_from_toml("[data]\npath = " + value + "\n", "c.toml").data.path;
  } catch (const InputError& error) {
    return error.what();
  }
}

TEST(DataSets, APlainPrefixIsItselfWhateverItHas) {
  EXPECT_EQ(parse_data_sets(""), Sets{});
  for (const char* prefix : {"data/go", "a b", "a,b", "run:7", "C:data", "0.7 data", "a b c d"}) {
    EXPECT_EQ(parse_data_sets(prefix), (Sets{{prefix, 1.0}})) << prefix;
    EXPECT_EQ(data_sets_text(parse_data_sets(prefix)), prefix);
  }
}

TEST(DataSets, ListsHaveTwoFormsAndOneIsWritten) {
  const Sets two = {{"data/code", 0.7}, {"b:c", 3.0}};
  for (const char* text : {"data/code:0.7,b:c:3", " data/code:7e-1 , b:c:3.0",
                           "0.7 data/code 3 b:c", "  0.7  data/code   3 b:c"}) {
    EXPECT_EQ(parse_data_sets(text), two) << text;
    EXPECT_EQ(data_sets_text(parse_data_sets(text)), "data/code:0.7,b:c:3") << text;
  }
}

TEST(DataSets, ListsThatMakeNoSenseAreRefused) {
  EXPECT_THAT(error_of("a:0.7,b"), HasSubstr("data.path: found 'b' without a weight, expected a"));
  EXPECT_THAT(error_of("a:0.7,"), HasSubstr("found '' without a weight"));
  EXPECT_THAT(error_of("a:0.7,:1"), HasSubstr("found a set without a prefix"));
  EXPECT_THAT(error_of("a:1,b:0"), HasSubstr("found the weight 0 of b, expected a number above 0"));
  EXPECT_THAT(error_of("a:1,b:-2"), HasSubstr("found the weight -2 of b"));
  EXPECT_THAT(error_of("a:1,b:inf"), HasSubstr("found the weight inf of b"));
  EXPECT_THAT(error_of("a:1,b:nan"), HasSubstr("found the weight nan of b"));
  EXPECT_THAT(error_of("a:1,b:2,a:3"), HasSubstr("found a twice"));
  EXPECT_THAT(error_of("1 a 2 a"), HasSubstr("found a twice"));
  std::string many = "s:1";
  for (std::size_t i = 0; i < kMostDataSets; ++i) many += ",s" + std::to_string(i) + ":1";
  EXPECT_THAT(error_of(many), HasSubstr("found 1025 sets, expected at most 1024"));
}

TEST(DataSets, TomlHasThemAsAnArray) {
  EXPECT_EQ(toml_path("\"data/go\""), "data/go");
  EXPECT_EQ(toml_path("[\"data/go\"]"), "data/go");
  EXPECT_EQ(toml_path("[{path = \"a\", weight = 0.7}, {path = \"b\", weight = 3}]"), "a:0.7,b:3");
  EXPECT_EQ(toml_path("[\"a\", {path = \"b\"}]"), "a:1,b:1");
  EXPECT_EQ(toml_path("\"0.7 a 0.3 b\""), "a:0.7,b:0.3");
  const auto refused =
      HasSubstr("c.toml: data.path: found an array, expected a string, or an array");
  for (const char* text : {"[]", "[1]", "[{weight = 1}]", "[{path = \"a\", weight = \"1\"}]",
                           "[{path = 1}]", "[{path = \"a\", wieght = 1}]", "[[\"a\"]]"}) {
    EXPECT_THAT(toml_path(text), refused) << text;
  }
  EXPECT_THAT(
      toml_path("[\"a,b\", \"c\"]"),
      HasSubstr("c.toml: data.path: found 'a,b' in a list, expected prefixes without commas"));
  EXPECT_THAT(toml_path("[\" a\", \"c\"]"), HasSubstr("found ' a' in a list"));
  EXPECT_THAT(toml_path("[\"a:1,b:2\"]"), HasSubstr("found 'a:1,b:2' in a list"));
  EXPECT_THAT(toml_path("[{path = \"a\", weight = 0}, \"b\"]"), HasSubstr("the weight 0 of a"));
}

}  // namespace
}  // namespace infinipipe
