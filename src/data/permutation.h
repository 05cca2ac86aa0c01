// A shuffled order that is computed point by point.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/random.h"

namespace infinipipe {

// A permutation of 0 .. n-1 of which no table is ever stored: the swap-or-not shuffle (Hoang,
// Morris, Rogaway, CRYPTO 2012). Each round pairs x with key - x and swaps a pair or not by a
// random bit.
class Permutation final {
 public:
  Permutation(std::int64_t n, std::uint64_t seed, std::uint64_t epoch) : n_(n) {
    Random random(seed, epoch);
    for (Round& round : rounds_) round = {random.between(0, n - 1), random.next()};
  }

  std::int64_t operator()(std::int64_t x) const {
    for (const Round& round : rounds_) {
      const std::int64_t partner = round.key >= x ? round.key - x : round.key - x + n_;
      const auto pair = static_cast<std::uint64_t>(std::max(x, partner));
      if ((mix(pair ^ round.salt) & 1) != 0) x = partner;
    }
    return x;
  }

 private:
  struct Round {
    std::int64_t key;
    std::uint64_t salt;
  };

  std::int64_t n_;
  std::array<Round, 96> rounds_;
};

}  // namespace infinipipe
