#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/random.h"
#include "data/safetensors.h"
#include "infinipipe/base/json.h"
#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

std::vector<std::byte> random_bytes(std::size_t count, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::byte> bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

class SafetensorsWriterTest : public FolderTest {};

TEST_F(SafetensorsWriterTest, WhatIsWrittenIsRead) {
  const std::vector<TensorInfo> infos = {{"w\"\xc3\xa4", "F32", {300, 1000}},
                                         {"none", "F64", {0}},
                                         {"value", "BF16", {}},
                                         {"last none", "U8", {4, 0}}};
  const auto weights = random_bytes(1'200'000, 1);
  const auto value = random_bytes(2, 2);
  SafetensorsWriter writer(in("a"), infos, {{"format", "pt"}, {"step", "3"}});
  writer.write_tensor("w\"\xc3\xa4", weights);
  writer.write_tensor("none", {});
  writer.write_tensor("value", value);
  const std::string hash = writer.finish();

  EXPECT_THAT(files(), ElementsAre("a"));
  EXPECT_EQ(hash, hash_hex(read_file(in("a"))));
  const SafetensorsFile data(in("a"));
  EXPECT_THAT(data.metadata(), ElementsAre(Pair("format", "pt"), Pair("step", "3")));
  ASSERT_EQ(data.tensors().size(), 4U);
  for (const TensorInfo& info : infos) {
    EXPECT_EQ(data.at(info.name).info.dtype, info.dtype);
    EXPECT_EQ(data.at(info.name).info.shape, info.shape);
  }
  const auto equal = [](std::span<const std::byte> a, std::span<const std::byte> b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  };
  EXPECT_TRUE(equal(data.read(data.at("w\"\xc3\xa4")), weights));
  EXPECT_TRUE(equal(data.read(data.at("value")), value));
}

TEST_F(SafetensorsWriterTest, TheBufferIsAlignedAndPiecesDoNotMatter) {
  const auto bytes = random_bytes(40, 3);
  const std::span<const std::byte> span(bytes);
  const std::vector<TensorInfo> infos = {{"a", "U8", {13}}, {"b", "U8", {27}}};
  SafetensorsWriter whole(in("whole"), infos);
  whole.write_tensor("a", span.first(13));
  whole.write_tensor("b", span.subspan(13));
  SafetensorsWriter pieces(in("pieces"), infos);
  for (std::size_t at = 0; at < 40; at += 7) {
    pieces.write(span.subspan(at, std::min<std::size_t>(7, 40 - at)));
  }
  EXPECT_EQ(whole.finish(), pieces.finish());
  const std::string content = read_file(in("whole"));
  EXPECT_EQ(content, read_file(in("pieces")));
  EXPECT_EQ((content.size() - 40) % 8, 0U);
}

TEST_F(SafetensorsWriterTest, AFileAppearsOnlyWhole) {
  put("a", "older");
  const auto bytes = random_bytes(3'000'000, 4);
  {
    SafetensorsWriter writer(in("a"), {{"x", "U8", {3'000'000}}});
    writer.write(std::span(bytes).first(2'000'000));
    EXPECT_THROW(writer.finish(), std::logic_error) << "bytes are missing";
  }
  EXPECT_EQ(read_file(in("a")), "older");
  EXPECT_THAT(files(), ElementsAre("a"));
}

TEST_F(SafetensorsWriterTest, MisuseIsABug) {
  const auto bytes = random_bytes(8, 5);
  const std::span<const std::byte> span(bytes);
  SafetensorsWriter writer(in("a"), {{"x", "U8", {4}}, {"y", "U8", {4}}});
  EXPECT_THROW(writer.write_tensor("y", span.first(4)), std::logic_error);
  EXPECT_THROW(writer.write_tensor("x", span.first(3)), std::logic_error);
  writer.write(span.first(2));
  EXPECT_THROW(writer.write_tensor("x", span.first(4)), std::logic_error) << "half is written";
  writer.write(span.subspan(2));
  writer.finish();
  EXPECT_THROW(writer.finish(), std::logic_error);
  EXPECT_THROW(writer.write(span), std::logic_error);
  SafetensorsWriter other(in("b"), {{"x", "U8", {4}}});
  EXPECT_THROW(other.write(span), std::logic_error) << "more than was declared";
}

TEST_F(SafetensorsWriterTest, RefusesWhatTheFormatCannotHold) {
  const auto refusal = [&](const std::vector<TensorInfo>& infos,
                           const std::map<std::string, std::string>& metadata = {}) {
    const std::string text = error_of([&] { SafetensorsWriter(in("a"), infos, metadata); });
    EXPECT_THAT(files(), IsEmpty());
    return text;
  };
  EXPECT_THAT(refusal({{"x", "F128", {4}}}), HasSubstr("\"x\": its dtype or shape"));
  EXPECT_THAT(refusal({{"x", "U8", {-4}}}), HasSubstr("its dtype or shape"));
  EXPECT_THAT(refusal({{"x", "U8", {INT64_MAX, 2}}}), HasSubstr("less than 2^63 bytes"));
  EXPECT_THAT(refusal({{"x", "U8", {INT64_MAX}}, {"y", "U8", {1}}}), HasSubstr("\"y\": its"));
  EXPECT_THAT(refusal({{"x", "U8", {1}}, {"x", "U8", {1}}}), HasSubstr("\"x\" is taken"));
  EXPECT_THAT(refusal({{"__metadata__", "U8", {1}}}), HasSubstr("\"__metadata__\" is taken"));
  EXPECT_THAT(refusal({{"\xff", "U8", {1}}}), HasSubstr("no UTF-8"));
  EXPECT_THAT(refusal({}, {{"a", "\xff"}}), HasSubstr("no UTF-8"));
}

TEST_F(SafetensorsWriterTest, DiskErrorsAreRunErrors) {
  EXPECT_THAT(error_of<RunError>([&] { SafetensorsWriter(in("none/a"), {}); }),
              HasSubstr("none/a: cannot be created"));
  make_folder(in("a"));
  SafetensorsWriter writer(in("a"), {});
  EXPECT_THAT(error_of<RunError>([&] { writer.finish(); }),
              HasSubstr("a: cannot be renamed into place"));
}

}  // namespace
}  // namespace infinipipe
