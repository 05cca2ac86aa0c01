#include "data/stats.h"

#include <nlohmann/json.hpp>

#include "test_support.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

class StatsTest : public FolderTest {};

TEST(LengthStats, BucketsArePowersOfTwo) {
  const LengthStats stats;
  const char* names[] = {"< 1K",      "1K - 2K",   "2K - 4K",    "4K - 8K", "8K - 16K",
                         "16K - 32K", "32K - 64K", "64K - 128K", ">= 128K"};
  for (std::size_t i = 0; i < stats.buckets.size(); ++i) {
    EXPECT_EQ(bucket_name(stats.buckets[i]), names[i]);
  }
}

TEST(LengthStats, BothEndsOfEveryBucketFallIntoIt) {
  for (std::size_t i = 0; i < 9; ++i) {
    const LengthBucket bucket = LengthStats().buckets[i];
    const Tokens last = i == 8 ? Tokens{1} << 31 : bucket.high - 1;
    LengthStats stats;
    stats.add(bucket.low);
    stats.add(last);
    EXPECT_EQ(stats.buckets[i].documents, 2) << bucket_name(bucket);
    EXPECT_EQ(stats.buckets[i].tokens, bucket.low + last);
  }
}

TEST(LengthStats, CountsTokensAndAttentionWork) {
  const std::vector<Tokens> lengths = {100, 1023, 1024, 200'000, 3000};
  const LengthStats stats = length_stats(lengths);
  EXPECT_EQ(stats.documents, 5);
  EXPECT_EQ(stats.tokens, 205'147);
  EXPECT_EQ(stats.shortest, 100);
  EXPECT_EQ(stats.longest, 200'000);
  EXPECT_EQ(stats.buckets[0].documents, 2);
  EXPECT_EQ(stats.buckets[0].tokens, 1123);
  EXPECT_DOUBLE_EQ(stats.buckets[0].attention, 100.0 * 100 + 1023.0 * 1023);
  EXPECT_EQ(stats.buckets[1].documents, 1);
  EXPECT_EQ(stats.buckets[2].tokens, 3000);
  EXPECT_DOUBLE_EQ(stats.buckets[8].attention, 4e10);
  double attention = 0.0;
  for (const auto& bucket : stats.buckets) attention += bucket.attention;
  EXPECT_DOUBLE_EQ(stats.attention, attention);
}

TEST(LengthStats, TheTableHoldsCountsAndShares) {
  const std::vector<Tokens> lengths = {500, 500, 1000, 131'072};
  const std::string table = format_stats(length_stats(lengths));
  EXPECT_THAT(table, HasSubstr("documents  4\n"));
  EXPECT_THAT(table, HasSubstr("tokens     133,072\n"));
  EXPECT_THAT(table, HasSubstr("length     500 to 131,072, mean 33,268\n"));
  EXPECT_THAT(
      table,
      HasSubstr("        < 1K             3   75.0%              2,000    1.5%       0.0%\n"));
  EXPECT_THAT(
      table,
      HasSubstr("     >= 128K             1   25.0%            131,072   98.5%     100.0%\n"));
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 4 + 1 + 9);
}

TEST(LengthStats, NoDocumentsGiveZeroesInsteadOfNaN) {
  const LengthStats stats = length_stats({});
  EXPECT_EQ(format_stats(stats).find("nan"), std::string::npos);
  EXPECT_EQ(stats_json(stats)["mean"], 0.0);
  EXPECT_EQ(stats_json(stats)["buckets"][3]["token_share"], 0.0);
}

TEST(LengthStats, TheJsonHoldsTheSame) {
  const std::vector<Tokens> lengths = {500, 500, 1000, 2000};
  const Json json = stats_json(length_stats(lengths));
  EXPECT_EQ(json["format"], "infinipipe.data_stats");
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["documents"], 4);
  EXPECT_EQ(json["tokens"], 4000);
  EXPECT_EQ(json["mean"], 1000.0);
  EXPECT_EQ(json["shortest"], 500);
  EXPECT_EQ(json["longest"], 2000);
  ASSERT_EQ(json["buckets"].size(), 9U);
  EXPECT_EQ(json["buckets"][0], (Json{{"low", 0},
                                      {"high", 1024},
                                      {"documents", 3},
                                      {"tokens", 2000},
                                      {"document_share", 0.75},
                                      {"token_share", 0.5},
                                      {"attention_share", 1.5 / 5.5}}));
  EXPECT_TRUE(json["buckets"][8]["high"].is_null());
}

TEST_F(StatsTest, ADatasetsDocumentsAreCounted) {
  IndexedDatasetWriter writer(in("a"), TokenDtype::kUint8, 1000);
  for (const std::size_t length : {5000, 10, 2000}) {
    writer.append(std::vector<std::int64_t>(length, 1));
    writer.end_document();
  }
  writer.finish();
  const LengthStats stats = dataset_stats(IndexedDataset(in("a")));
  EXPECT_EQ(stats.documents, 3);
  EXPECT_EQ(stats.tokens, 7010);
  EXPECT_EQ(stats.longest, 5000) << "documents, not the sequences that store them";
}

TEST_F(StatsTest, TokensWithLossAreCountedWhereThereAreWeights) {
  IndexedDatasetWriter writer(in("a"), TokenDtype::kUint8);
  writer.append(std::vector<std::int64_t>(4, 1), false);
  writer.append(std::vector<std::int64_t>(6, 1));
  writer.end_document();
  writer.append(std::vector<std::int64_t>(10, 1), false);
  writer.end_document();
  writer.append(std::vector<std::int64_t>(5, 1));
  writer.end_document();
  writer.finish();
  const LengthStats stats = dataset_stats(IndexedDataset(in("a")));
  EXPECT_EQ(stats.loss_tokens, 6 + 4) << "nothing predicts a document's first token";
  EXPECT_EQ(stats.documents_without_loss, 1);
  EXPECT_THAT(format_stats(stats), HasSubstr("loss       on 10 tokens (40.0%); 1 documents have"));
  EXPECT_EQ(stats_json(stats)["loss_tokens"], 10);
  EXPECT_FALSE(stats_json(LengthStats()).contains("loss_tokens"));
}

}  // namespace
}  // namespace infinipipe
