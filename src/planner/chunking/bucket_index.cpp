#include "planner/chunking/bucket_index.h"

#include <algorithm>

namespace infinipipe {

namespace {
constexpr std::size_t kBlockSize = 64;
}

bool BucketIndex::before(const Bucket& a, const Bucket& b) {
  const double ra = a.ratio();
  const double rb = b.ratio();
  return ra != rb ? ra < rb : a.id < b.id;
}

void BucketIndex::refresh(Block& block) {
  block.most_free_tokens = block.buckets.front().free_tokens;
  block.least_seconds = block.buckets.front().seconds;
  for (const Bucket& b : block.buckets) {
    block.most_free_tokens = std::max(block.most_free_tokens, b.free_tokens);
    block.least_seconds = std::min(block.least_seconds, b.seconds);
  }
}

void BucketIndex::insert(const Bucket& bucket) {
  if (blocks_.empty()) blocks_.emplace_back();
  auto block = std::find_if(blocks_.begin(), blocks_.end() - 1,
                            [&](const Block& b) { return before(bucket, b.buckets.back()); });
  auto& buckets = block->buckets;
  buckets.insert(std::lower_bound(buckets.begin(), buckets.end(), bucket, before), bucket);
  if (buckets.size() > kBlockSize) {
    Block upper;
    const auto middle = buckets.begin() + static_cast<std::ptrdiff_t>(kBlockSize / 2);
    upper.buckets.assign(middle, buckets.end());
    buckets.erase(middle, buckets.end());
    refresh(upper);
    block = blocks_.insert(block + 1, std::move(upper)) - 1;
  }
  refresh(*block);
}

Bucket BucketIndex::take(std::size_t block, std::size_t position) {
  auto& buckets = blocks_[block].buckets;
  const Bucket bucket = buckets[position];
  buckets.erase(buckets.begin() + static_cast<std::ptrdiff_t>(position));
  if (buckets.empty()) {
    blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(block));
  } else {
    refresh(blocks_[block]);
  }
  return bucket;
}

std::optional<Bucket> BucketIndex::take_best(Tokens tokens, Seconds seconds) {
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    if (block.most_free_tokens < tokens || block.least_seconds > seconds) continue;
    for (std::size_t j = 0; j < block.buckets.size(); ++j) {
      const Bucket& b = block.buckets[j];
      if (b.free_tokens >= tokens && b.seconds <= seconds) return take(i, j);
    }
  }
  return std::nullopt;
}

std::optional<Bucket> BucketIndex::take_shortest(Tokens tokens, Seconds seconds) {
  std::size_t best_block = 0;
  std::size_t best_position = 0;
  bool found = false;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    if (block.most_free_tokens < tokens || block.least_seconds > seconds) continue;
    for (std::size_t j = 0; j < block.buckets.size(); ++j) {
      const Bucket& b = block.buckets[j];
      if (b.free_tokens < tokens || b.seconds > seconds) continue;
      if (found && b.seconds >= blocks_[best_block].buckets[best_position].seconds) continue;
      found = true;
      best_block = i;
      best_position = j;
    }
  }
  if (!found) return std::nullopt;
  return take(best_block, best_position);
}

}  // namespace infinipipe
