// Which sequences are drawn in which order. Its whole state is (seed, position).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "data/blend.h"
#include "data/permutation.h"
#include "infinipipe/base/json.h"

namespace infinipipe {

// One of the sets that are drawn from.
struct SampledSet {
  std::int64_t documents = 0;
  double weight = 1.0;  // against those of the others
};

// The documents of all sets are numbered one set after the other. What is drawn is an endless
// sequence: a place of it belongs to a set by the weights (blend.h), and a set's places go through
// its own epochs, each a permutation of its documents, joined without a gap. A step takes the next
// `per_step` places. Nothing needs an earlier call, and all of it is the same on every machine.
// Thread-safe.
class Sampler final {
 public:
  // Throws InputError for a set without a document, or per_step < 1.
  Sampler(std::vector<SampledSet> sets, int per_step, std::int64_t seed);
  Sampler(std::int64_t documents, int per_step, std::int64_t seed);  // of one set

  std::int64_t documents() const { return first_.back(); }  // of all sets
  int per_step() const { return per_step_; }

  // Document numbers of a step (>= 0), in order; `per_step` of them; a document may stand twice
  // only where an epoch ends within the step or a set is drawn from more often than it has
  // documents.
  std::vector<std::int64_t> sample(std::int64_t step) const;
  // Where the step begins. Throws InputError for a step whose end is beyond 2^63.
  std::int64_t position(std::int64_t step) const;

  // Document numbers from a position on, one by one; the sampler must live on. One thread.
  class Walk final {
   public:
    Walk(const Sampler& sampler, std::int64_t position);
    std::int64_t next();

   private:
    struct Epoch {
      std::int64_t number;
      Permutation order;
    };
    const Sampler& sampler_;
    std::int64_t position_;
    std::vector<std::optional<Epoch>> epochs_;  // of each set, the one that was drawn from last
  };

  // How often each set has been gone through before a position: 1.5 is one and a half epochs.
  std::vector<double> epochs(std::int64_t position) const;
  // How many places it takes to go through a set once.
  double places_per_epoch(std::size_t set) const;
  double share(std::size_t set) const { return blend_.share(set); }

  // {"format": "infinipipe.sampler", "version": 1, "seed", "step", "documents", "per_step"}, and of
  // several sets "sets": [{"documents", "share"}, ...], the share in units of 2^-30.
  Json state(std::int64_t step) const;
  // The step to go on with. Throws InputError if the state is another sampler's.
  std::int64_t restore(const JsonView& state) const;

 private:
  Permutation epoch(std::size_t set, std::int64_t number) const;
  Json sets_state() const;

  std::vector<SampledSet> sets_;
  std::vector<std::int64_t> first_;  // number of each set's first document; last: of all
  Blend blend_;
  int per_step_;
  std::int64_t seed_;
};

// Throws InputError where a state's member is not this run's own value.
void require_member(const JsonView& state, const char* key, std::int64_t own);

}  // namespace infinipipe
