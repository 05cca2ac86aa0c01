// What a corpus looks like: the histogram of its lengths, and where its work lies.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "infinipipe/base/json.h"
#include "infinipipe/base/units.h"
#include "infinipipe/data/indexed_dataset.h"

namespace infinipipe {

// Documents of `low` <= length < `high` tokens.
struct LengthBucket {
  Tokens low = 0;
  Tokens high = 0;  // the last bucket's is the largest number of its type
  std::int64_t documents = 0;
  Tokens tokens = 0;
  double attention = 0.0;  // sum of length squared: what causal attention costs, up to a constant
};

struct LengthStats {
  std::int64_t documents = 0;
  Tokens tokens = 0;
  double attention = 0.0;
  Tokens shortest = 0;
  Tokens longest = 0;
  // Of a dataset with loss weights: tokens whose prediction counts, and the documents without one.
  std::optional<Tokens> loss_tokens;
  std::int64_t documents_without_loss = 0;
  // Under 1K, 1K to 2K, 2K to 4K, ... 64K to 128K, 128K and over; K = 1024.
  std::array<LengthBucket, 9> buckets;

  LengthStats();
  void add(Tokens length);
};

LengthStats length_stats(std::span<const Tokens> lengths);
LengthStats dataset_stats(const IndexedDataset& dataset);

// Name of a bucket: "< 1K", "1K - 2K", ">= 128K".
std::string bucket_name(const LengthBucket& bucket);

// A table for people, several lines.
std::string format_stats(const LengthStats& stats);
// {"format": "infinipipe.data_stats", "version": 1, "documents", "tokens", "mean", "shortest",
//  "longest", "buckets": [{"low", "high" (null in the last), "documents", "tokens",
//  "document_share", "token_share", "attention_share"}, ...]}; shares are of 1. With loss weights
// also "loss_tokens" and "documents_without_loss".
Json stats_json(const LengthStats& stats);

}  // namespace infinipipe
