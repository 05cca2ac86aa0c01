#include "data/safetensors.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"
#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Lt;
using ::testing::Pair;
using ::testing::SizeIs;

std::string text_of(const SafetensorsFile& file, const char* name) {
  const std::vector<std::byte> bytes = file.read(file.at(name));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class SafetensorsTest : public FolderTest {
 protected:
  std::string file(const std::string& header, const std::string& buffer) const {
    return put("a.safetensors", raw(std::uint64_t{header.size()}) + header + buffer);
  }
  std::string refusal(const std::string& header, const std::string& buffer = "12345678") const {
    const std::string path = file(header, buffer);
    const std::string text = error_of([&] { SafetensorsFile{path}; });
    EXPECT_THAT(text, HasSubstr("a.safetensors"));
    EXPECT_THAT(text, SizeIs(Lt(600))) << "errors stay short whatever the input";
    return text;
  }
  static std::string entry(const std::string& name, const std::string& dtype,
                           const std::string& shape, const std::string& offsets) {
    return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
           ",\"data_offsets\":" + offsets + "}";
  }
};

TEST_F(SafetensorsTest, ReadsTensorsAndMetadata) {
  const SafetensorsFile data(file("{" + entry("b", "U8", "[3]", "[4,7]") +
                                      ", \"__metadata__\": {\"format\":\"pt\",\"\":\"x\"}, " +
                                      entry("a", "F32", "[1,1]", "[0,4]") + "," +
                                      entry("none", "F64", "[0,5]", "[7,7]") + "," +
                                      entry("value", "BOOL", "[]", "[7,8]") + "}   ",
                                  "ABCDefgh"));
  ASSERT_EQ(data.tensors().size(), 4U);
  EXPECT_EQ(data.tensors()[0].info.name, "a") << "by place in the buffer";
  EXPECT_THAT(data.metadata(), ElementsAre(Pair("", "x"), Pair("format", "pt")));
  EXPECT_EQ(data.at("a").info.dtype, "F32");
  EXPECT_THAT(data.at("a").info.shape, ElementsAre(1, 1));
  EXPECT_EQ(text_of(data, "a"), "ABCD");
  EXPECT_EQ(text_of(data, "b"), "efg");
  EXPECT_EQ(text_of(data, "value"), "h");
  EXPECT_THAT(data.at("value").info.shape, IsEmpty());
  EXPECT_EQ(text_of(data, "none"), "");
  EXPECT_EQ(data.find("c"), nullptr);
  EXPECT_THAT(error_of([&] { data.at("c"); }), HasSubstr("has no tensor \"c\""));
}

// A mapped file that shrinks would end the process by a signal.
TEST_F(SafetensorsTest, AFileThatShrinksIsNamed) {
  const std::string path = file("{" + entry("a", "U8", "[8]", "[0,8]") + "}", "12345678");
  const SafetensorsFile data(path);
  std::filesystem::resize_file(path, 20);
  try {
    data.read(data.at("a"));
    FAIL() << "it was read";
  } catch (const RunError& error) {
    EXPECT_THAT(error.what(), HasSubstr("a.safetensors: was changed while it was in use"));
  }
}

TEST_F(SafetensorsTest, AFileWithoutTensorsIsOne) {
  EXPECT_THAT(SafetensorsFile(file("{}", "")).tensors(), IsEmpty());
}

TEST_F(SafetensorsTest, EveryDtypeHasItsWidth) {
  for (const auto& [dtype, width] : std::map<std::string, int>{{"F64", 8},
                                                               {"F32", 4},
                                                               {"F16", 2},
                                                               {"BF16", 2},
                                                               {"I64", 8},
                                                               {"I32", 4},
                                                               {"I16", 2},
                                                               {"I8", 1},
                                                               {"U64", 8},
                                                               {"U32", 4},
                                                               {"U16", 2},
                                                               {"U8", 1},
                                                               {"BOOL", 1},
                                                               {"F8_E4M3", 1},
                                                               {"F8_E5M2", 1},
                                                               {"C64", 8}}) {
    const std::string size = std::to_string(3 * width);
    const SafetensorsFile data(file("{" + entry("a", dtype, "[3]", "[0," + size + "]") + "}",
                                    std::string(static_cast<std::size_t>(3 * width), 'x')));
    EXPECT_EQ(data.at("a").bytes, static_cast<std::size_t>(3 * width));
  }
}

TEST_F(SafetensorsTest, RefusesHeaderLengths) {
  const auto with_length = [&](const std::string& content) {
    const std::string path = put("a.safetensors", content);
    return error_of([&] { SafetensorsFile{path}; });
  };
  const std::string rest = "{}      ";
  EXPECT_THAT(with_length(""), HasSubstr("has 0 bytes"));
  EXPECT_THAT(with_length("1234567"), HasSubstr("has 7 bytes"));
  EXPECT_THAT(with_length(raw(std::uint64_t{0}) + rest), HasSubstr("header length is 0"));
  EXPECT_THAT(with_length(raw(std::uint64_t{1}) + rest), HasSubstr("header length is 1"));
  EXPECT_THAT(with_length(raw(std::uint64_t{7}) + "{ \"a\":{}}"), HasSubstr("header is not JSON"));
  EXPECT_THAT(with_length(raw(std::uint64_t{9}) + rest), HasSubstr("the file is cut short"));
  EXPECT_THAT(with_length(raw(std::uint64_t{100'000'000}) + rest), HasSubstr("cut short"));
  EXPECT_THAT(with_length(raw(std::uint64_t{100'000'001}) + rest),
              HasSubstr("header length is 100000001, expected at most 100000000"));
  EXPECT_THAT(with_length(raw(std::uint64_t{1} << 63) + rest),
              HasSubstr("header length is 9223372036854775808"));
  EXPECT_THAT(with_length(raw(~std::uint64_t{0}) + rest), HasSubstr("header length is"));
}

TEST_F(SafetensorsTest, RefusesWhatIsNoHeader) {
  EXPECT_THAT(refusal(" {}"), HasSubstr("does not start with {"));
  EXPECT_THAT(refusal("[1]"), HasSubstr("does not start with {"));
  EXPECT_THAT(refusal("{} {}"), HasSubstr("not JSON at byte 4"));
  EXPECT_THAT(refusal("{\"a\""), HasSubstr("not JSON"));
  EXPECT_THAT(refusal("{\"a\xff\":{}}"), HasSubstr("not UTF-8 at byte"));
  EXPECT_THAT(refusal("{\"a\":3}"), HasSubstr("\"a\": is the number 3, expected an object"));
  EXPECT_THAT(refusal("{\"a\":[]}"), HasSubstr("is an array"));
  EXPECT_THAT(refusal("{\"a\":null}"), HasSubstr("is null"));
  EXPECT_THAT(refusal("{\"__metadata__\":{\"a\":1}}"),
              HasSubstr("\"__metadata__\": holds the number 1, expected strings"));
  EXPECT_THAT(refusal("{\"__metadata__\":{\"a\":{}}}"), HasSubstr("holds an object"));
  EXPECT_THAT(refusal("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}"), HasSubstr("stands twice"));
  EXPECT_THAT(refusal("{\"__metadata__\":{},\"__metadata__\":{}}"), HasSubstr("stands twice"));
  EXPECT_THAT(refusal("{\"__metadata__\":\"x\"}"), HasSubstr("is the string \"x\""));
}

TEST_F(SafetensorsTest, RefusesBrokenEntries) {
  const auto with = [&](const std::string& body) { return refusal("{\"a\":{" + body + "}}"); };
  EXPECT_THAT(with(""), HasSubstr("\"a\": has no dtype"));
  EXPECT_THAT(with("\"dtype\":\"U8\",\"shape\":[8]"), HasSubstr("has no data_offsets"));
  EXPECT_THAT(with("\"dtype\":\"U8\",\"data_offsets\":[0,8]"), HasSubstr("has no shape"));
  EXPECT_THAT(with("\"dtype\":\"U8\",\"dtype\":\"U8\""), HasSubstr("has the key \"dtype\""));
  EXPECT_THAT(with("\"dtype\":8"), HasSubstr("dtype is the number 8"));
  EXPECT_THAT(with("\"shape\":8"), HasSubstr("shape holds the number 8"));
  EXPECT_THAT(with("\"shape\":[-1]"), HasSubstr("shape holds the number -1"));
  EXPECT_THAT(with("\"shape\":[1.5]"), HasSubstr("shape holds the number 1.5"));
  EXPECT_THAT(with("\"shape\":[9223372036854775808]"), HasSubstr("shape holds the number"));
  EXPECT_THAT(with("\"shape\":[1e400]"), HasSubstr("not JSON"));
  EXPECT_THAT(with("\"shape\":[[8]]"), HasSubstr("shape holds an array"));
  EXPECT_THAT(with("\"shape\":[true]"), HasSubstr("shape holds true or false"));
  EXPECT_THAT(with("\"data_offsets\":[0]"), HasSubstr("data_offsets has 1 numbers, expected 2"));
  EXPECT_THAT(with("\"data_offsets\":[0,4,8]"), HasSubstr("data_offsets holds the number 8"));
  EXPECT_THAT(with("\"data_offsets\":{}"), HasSubstr("data_offsets holds an object"));
  EXPECT_THAT(with("\"data_offsets\":[-1,8]"), HasSubstr("data_offsets holds the number -1"));
  EXPECT_THAT(with("\"more\":[0,8]"), HasSubstr("has the key \"more\""));
  std::string ones = "1";
  for (int i = 0; i < 64; ++i) ones += ",1";
  EXPECT_THAT(with("\"shape\":[" + ones + "]"), HasSubstr("has over 64 dimensions"));
}

TEST_F(SafetensorsTest, RefusesTensorsThatDoNotFit) {
  const auto one = [&](const std::string& dtype, const std::string& shape,
                       const std::string& offsets) {
    return refusal("{" + entry("a", dtype, shape, offsets) + "}");
  };
  EXPECT_THAT(one("F128", "[8]", "[0,8]"), HasSubstr("dtype is \"F128\", expected one of F64"));
  EXPECT_THAT(one("", "[8]", "[0,8]"), HasSubstr("dtype is \"\""));
  EXPECT_THAT(one("U8", "[8]", "[8,0]"),
              HasSubstr("data_offsets are [8, 0), expected begin <= end"));
  EXPECT_THAT(one("U8", "[9]", "[0,9]"), HasSubstr("expected an end within the 8 bytes"));
  EXPECT_THAT(one("U8", "[7]", "[0,8]"), HasSubstr("expected 7 bytes, as dtype and shape say"));
  EXPECT_THAT(one("F32", "[8]", "[0,8]"), HasSubstr("expected 32 bytes"));
  EXPECT_THAT(one("U8", "[]", "[0,8]"), HasSubstr("expected 1 bytes"));
  // 2^32 x 2^32 + 8 would be 8 modulo 2^64.
  EXPECT_THAT(one("U8", "[4294967296,4294967296]", "[0,8]"), HasSubstr("has over 2^63 bytes"));
  EXPECT_THAT(one("F64", "[2305843009213693953]", "[0,8]"), HasSubstr("has over 2^63 bytes"));
  EXPECT_THAT(one("U8", "[4294967296,4294967296,0]", "[0,0]"), HasSubstr("has over 2^63 bytes"));
}

TEST_F(SafetensorsTest, RefusesHolesOverlapsAndTrailingBytes) {
  const auto two = [&](const std::string& first, const std::string& first_shape,
                       const std::string& second, const std::string& second_shape) {
    return refusal("{" + entry("a", "U8", first_shape, first) + "," +
                   entry("b", "U8", second_shape, second) + "}");
  };
  EXPECT_THAT(two("[0,4]", "[4]", "[4,7]", "[3]"),
              HasSubstr("has 8 bytes after the header, expected 7, where the last tensor ends"));
  EXPECT_THAT(two("[0,3]", "[3]", "[4,8]", "[4]"),
              HasSubstr("\"b\": data_offsets are [4, 8), expected to begin at 3; there is a hole"));
  EXPECT_THAT(two("[0,5]", "[5]", "[4,8]", "[4]"), HasSubstr("begin at 5; it overlaps"));
  EXPECT_THAT(two("[0,8]", "[8]", "[0,8]", "[8]"), HasSubstr("it overlaps"));
  EXPECT_THAT(two("[0,8]", "[8]", "[2,2]", "[0]"), HasSubstr("it overlaps"));
  EXPECT_THAT(two("[1,4]", "[3]", "[4,8]", "[4]"),
              HasSubstr("\"a\": data_offsets are [1, 4), expected to begin at 0"));
  EXPECT_THAT(refusal("{}", "x"), HasSubstr("has 1 bytes after the header, expected 0"));
  EXPECT_THAT(refusal("{" + entry("a", "U8", "[4]", "[0,4]") + "," +
                      entry("a", "U8", "[4]", "[4,8]") + "}"),
              HasSubstr("\"a\": stands twice"));
  EXPECT_THAT(refusal("{" + entry("a", "U8", "[4]", "[0,4]") + "," +
                      entry("\\u0061", "U8", "[4]", "[4,8]") + "}"),
              HasSubstr("\"a\": stands twice"));
}

TEST_F(SafetensorsTest, DepthAndLengthOfJsonAreHarmless) {
  EXPECT_THAT(refusal("{\"a\":" + std::string(5'000'000, '[')), HasSubstr("is an array"));
  std::string objects;
  for (int i = 0; i < 500'000; ++i) objects += "{\"a\":";
  EXPECT_THAT(refusal(objects), HasSubstr("has the key \"a\""));
  EXPECT_THAT(refusal("{\"" + std::string(3'000'000, 'x') + "\":1}"), HasSubstr("is the number 1"));
  EXPECT_THAT(refusal("{" + entry("a", std::string(3'000'000, 'x'), "[1]", "[0,1]") + "}"),
              HasSubstr("dtype is"));
  std::string metadata = "{\"__metadata__\":{";
  for (int i = 0; i < 100'001; ++i) metadata += "\"" + std::to_string(i) + "\":\"\",";
  EXPECT_THAT(refusal(metadata + "\"x\":\"\"}}"), HasSubstr("has over 100000 keys"));
}

TEST_F(SafetensorsTest, AHundredThousandEntriesAreFine) {
  constexpr int kCount = 100'000;
  std::string header = "{";
  for (int i = kCount - 1; i >= 0; --i) {  // backwards, so that sorting has work to do
    header += entry("layer." + std::to_string(i), "U8", "[1]",
                    "[" + std::to_string(i) + "," + std::to_string(i + 1) + "]") +
              (i > 0 ? "," : "}");
  }
  const SafetensorsFile data(file(header, std::string(kCount, 'x')));
  EXPECT_EQ(data.tensors().size(), static_cast<std::size_t>(kCount));
  EXPECT_NE(data.find("layer.77777"), nullptr);
  EXPECT_EQ(data.find("layer.100000"), nullptr);
}

class SafetensorsIndexTest : public FolderTest {};

TEST_F(SafetensorsIndexTest, NamesTheShardOfEveryTensor) {
  const std::string path = put("model.safetensors.index.json",
                               R"({"metadata": {"total_size": 8}, "weight_map":
                                   {"b": "model-00002-of-00002.safetensors", "a": "x..y"}})");
  EXPECT_THAT(read_safetensors_index(path),
              ElementsAre(Pair("a", "x..y"), Pair("b", "model-00002-of-00002.safetensors")));
}

TEST_F(SafetensorsIndexTest, ShardsNeverLeaveTheFolder) {
  for (const char* name :
       {"..", ".", "", "../a", "/etc/passwd", "a/../../b", "a/b", "..\\\\a", "a\\u0000b"}) {
    const std::string path =
        put("index.json", std::string("{\"weight_map\": {\"w\": \"") + name + "\"}}");
    EXPECT_THAT(error_of([&] { read_safetensors_index(path); }),
                HasSubstr("expected the name of a file in the same folder"))
        << name;
  }
}

TEST_F(SafetensorsIndexTest, RefusesOtherForms) {
  const auto refusal = [&](const std::string& text) {
    const std::string path = put("index.json", text);
    return error_of([&] { read_safetensors_index(path); });
  };
  EXPECT_THAT(refusal("{}"), HasSubstr("weight_map"));
  EXPECT_THAT(refusal("{\"weight_map\": []}"), HasSubstr("expected an object"));
  EXPECT_THAT(refusal("{\"weight_map\": {\"a\": 1}}"), HasSubstr("weight_map.a: found 1"));
  EXPECT_THAT(refusal("{\"weight_map\": {\"a\": \"x\", \"a\": \"y\"}}"), HasSubstr("twice"));
}

}  // namespace
}  // namespace infinipipe
