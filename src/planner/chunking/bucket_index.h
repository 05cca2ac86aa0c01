// Open buckets of the sequence processor, found by best fit.
#pragma once

#include <optional>
#include <vector>

#include "infinipipe/base/units.h"

namespace infinipipe {

struct Bucket {
  int id = 0;
  Tokens tokens = 0;
  Tokens free_tokens = 0;  // how many more it may take
  Seconds seconds = 0.0;

  double ratio() const { return seconds / static_cast<double>(tokens); }
};

// Buckets sorted by time per token, in blocks that know their extremes: a query skips blocks that
// cannot hold an answer. Single-threaded.
class BucketIndex final {
 public:
  void insert(const Bucket& bucket);
  // Takes a bucket out of the index: the one with the least time per token (then the least id)
  // among those that may take `tokens` more and have at most `seconds` seconds.
  std::optional<Bucket> take_best(Tokens tokens, Seconds seconds);
  // The same, but the one with the least time (then the least time per token).
  std::optional<Bucket> take_shortest(Tokens tokens, Seconds seconds);

 private:
  struct Block {
    std::vector<Bucket> buckets;
    Tokens most_free_tokens = 0;
    Seconds least_seconds = 0.0;
  };
  static bool before(const Bucket& a, const Bucket& b);
  static void refresh(Block& block);
  Bucket take(std::size_t block, std::size_t position);

  std::vector<Block> blocks_;
};

}  // namespace infinipipe
