#include "data/sampler.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// A permutation of 0 .. n-1 that is computed point by point, so that no epoch's order is ever
// stored: the swap-or-not shuffle (Hoang, Morris, Rogaway, CRYPTO 2012). Each round pairs x with
// key - x and swaps a pair or not by a random bit.
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

constexpr const char* kFormat = "infinipipe.sampler";

void expect_equal(const JsonView& state, const char* key, std::int64_t own) {
  const JsonView member = state.at(key);
  if (const std::int64_t found = member.integer(); found != own) {
    member.fail(std::to_string(found), std::to_string(own),
                "resume with the data and settings of the first run");
  }
}

}  // namespace

Sampler::Sampler(std::int64_t documents, int per_step, std::int64_t seed)
    : documents_(documents), per_step_(per_step), seed_(seed) {
  if (documents < 1) {
    throw InputError("sampler", "found " + std::to_string(documents) + " documents",
                     "expected at least 1");
  }
  if (per_step < 1) {
    throw InputError("sampler", "found " + std::to_string(per_step) + " documents a step",
                     "expected at least 1");
  }
}

std::vector<std::int64_t> Sampler::sample(std::int64_t step) const {
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  if (step < 0 || step > kMax / per_step_ - 1) {
    throw InputError("sampler", "found step " + std::to_string(step),
                     "expected 0 to " + std::to_string(kMax / per_step_ - 1));
  }
  std::vector<std::int64_t> result;
  result.reserve(static_cast<std::size_t>(per_step_));
  std::int64_t position = step * per_step_;
  const std::int64_t end = position + per_step_;
  while (position < end) {
    const std::int64_t epoch = position / documents_;
    const std::int64_t first = epoch * documents_;
    const Permutation shuffled(documents_, static_cast<std::uint64_t>(seed_),
                               static_cast<std::uint64_t>(epoch));
    for (; position < end && position - first < documents_; ++position) {
      result.push_back(shuffled(position - first));
    }
  }
  return result;
}

Json Sampler::state(std::int64_t step) const {
  return {{"format", kFormat},       {"version", 1},         {"seed", seed_}, {"step", step},
          {"documents", documents_}, {"per_step", per_step_}};
}

std::int64_t Sampler::restore(const JsonView& state) const {
  check_format(state, kFormat);
  expect_equal(state, "documents", documents_);
  expect_equal(state, "per_step", per_step_);
  expect_equal(state, "seed", seed_);
  return state.at("step").integer(0);
}

}  // namespace infinipipe
