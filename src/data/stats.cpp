#include "data/stats.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr Tokens kKilo = 1024;
constexpr Tokens kWeightsRead = 1 << 20;

double share(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }

std::string percent(double part, double whole) {
  char text[16];
  std::snprintf(text, sizeof(text), "%.1f%%", 100.0 * share(part, whole));
  return text;
}

double mean(const LengthStats& stats) {
  return share(static_cast<double>(stats.tokens), static_cast<double>(stats.documents));
}

std::string padded(const std::string& text, std::size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

}  // namespace

LengthStats::LengthStats() {
  Tokens low = 0;
  Tokens high = kKilo;
  for (LengthBucket& bucket : buckets) {
    bucket.low = low;
    bucket.high = high;
    low = high;
    high *= 2;
  }
  buckets.back().high = std::numeric_limits<Tokens>::max();
}

void LengthStats::add(Tokens length) {
  INFINIPIPE_ASSERT(length >= 0, "a length below 0");
  const double work = static_cast<double>(length) * static_cast<double>(length);
  shortest = documents == 0 ? length : std::min(shortest, length);
  longest = std::max(longest, length);
  ++documents;
  tokens += length;
  attention += work;
  LengthBucket& bucket = *std::find_if(buckets.begin(), buckets.end() - 1,
                                       [&](const LengthBucket& b) { return length < b.high; });
  ++bucket.documents;
  bucket.tokens += length;
  bucket.attention += work;
}

LengthStats length_stats(std::span<const Tokens> lengths) {
  LengthStats stats;
  for (const Tokens length : lengths) stats.add(length);
  return stats;
}

LengthStats dataset_stats(const IndexedDataset& dataset) {
  LengthStats stats;
  for (const Tokens length : dataset.lengths()) stats.add(length);
  if (!dataset.has_weights()) return stats;
  Tokens all = 0;
  for (std::int64_t document = 0; document < dataset.documents(); ++document) {
    Tokens counted = 0;
    for (Tokens at = 1;; at += kWeightsRead) {  // nothing predicts the first token
      const std::vector<float> weights = dataset.weights(document, at, kWeightsRead);
      if (weights.empty()) break;
      counted += std::count(weights.begin(), weights.end(), 1.0F);
    }
    if (counted == 0) ++stats.documents_without_loss;
    all += counted;
  }
  stats.loss_tokens = all;
  return stats;
}

std::string bucket_name(const LengthBucket& bucket) {
  const auto kilo = [](Tokens tokens) { return std::to_string(tokens / kKilo) + "K"; };
  if (bucket.low == 0) return "< " + kilo(bucket.high);
  if (bucket.high == std::numeric_limits<Tokens>::max()) return ">= " + kilo(bucket.low);
  return kilo(bucket.low) + " - " + kilo(bucket.high);
}

std::string format_stats(const LengthStats& stats) {
  std::string text = "documents  " + format_count(stats.documents) + "\ntokens     " +
                     format_count(stats.tokens) + "\nlength     " + format_count(stats.shortest) +
                     " to " + format_count(stats.longest) + ", mean " +
                     format_count(static_cast<Tokens>(mean(stats) + 0.5)) + "\n";
  if (stats.loss_tokens) {
    text += "loss       on " + format_count(*stats.loss_tokens) + " tokens (" +
            percent(static_cast<double>(*stats.loss_tokens), static_cast<double>(stats.tokens)) +
            "); " + format_count(stats.documents_without_loss) + " documents have none\n";
  }
  text += "\n";
  const auto row = [&](const std::string& name, const std::string& documents,
                       const std::string& document_share, const std::string& tokens,
                       const std::string& token_share, const std::string& attention) {
    text += padded(name, 12) + padded(documents, 14) + padded(document_share, 8) +
            padded(tokens, 19) + padded(token_share, 8) + padded(attention, 11) + "\n";
  };
  row("length", "documents", "", "tokens", "", "attention");
  for (const LengthBucket& bucket : stats.buckets) {
    row(bucket_name(bucket), format_count(bucket.documents),
        percent(static_cast<double>(bucket.documents), static_cast<double>(stats.documents)),
        format_count(bucket.tokens),
        percent(static_cast<double>(bucket.tokens), static_cast<double>(stats.tokens)),
        percent(bucket.attention, stats.attention));
  }
  return text;
}

Json stats_json(const LengthStats& stats) {
  Json buckets = Json::array();
  for (const LengthBucket& bucket : stats.buckets) {
    const bool open = bucket.high == std::numeric_limits<Tokens>::max();
    buckets.push_back({{"low", bucket.low},
                       {"high", open ? Json() : Json(bucket.high)},
                       {"documents", bucket.documents},
                       {"tokens", bucket.tokens},
                       {"document_share", share(static_cast<double>(bucket.documents),
                                                static_cast<double>(stats.documents))},
                       {"token_share", share(static_cast<double>(bucket.tokens),
                                             static_cast<double>(stats.tokens))},
                       {"attention_share", share(bucket.attention, stats.attention)}});
  }
  Json json = {{"format", "infinipipe.data_stats"},
               {"version", 1},
               {"documents", stats.documents},
               {"tokens", stats.tokens},
               {"mean", mean(stats)},
               {"shortest", stats.shortest},
               {"longest", stats.longest},
               {"buckets", std::move(buckets)}};
  if (stats.loss_tokens) {
    json["loss_tokens"] = *stats.loss_tokens;
    json["documents_without_loss"] = stats.documents_without_loss;
  }
  return json;
}

}  // namespace infinipipe
