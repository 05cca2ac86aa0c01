// Which documents make which step. Its whole state is (seed, step).
#pragma once

#include <cstdint>
#include <vector>

#include "infinipipe/base/json.h"

namespace infinipipe {

// Documents shuffled per epoch from the seed, `per_step` of them a step, epochs joined without a
// gap. sample(step) needs no earlier call and is the same on every machine. Thread-safe.
class Sampler final {
 public:
  Sampler(std::int64_t documents, int per_step, std::int64_t seed);

  // Document numbers of a step (>= 0), in order; `per_step` of them; a document may stand twice
  // only where an epoch ends within the step or documents < per_step.
  std::vector<std::int64_t> sample(std::int64_t step) const;

  // {"format": "infinipipe.sampler", "version": 1, "seed", "step", "documents", "per_step"}.
  Json state(std::int64_t step) const;
  // The step to go on with. Throws InputError if the state is another sampler's.
  std::int64_t restore(const JsonView& state) const;

 private:
  std::int64_t documents_;
  int per_step_;
  std::int64_t seed_;
};

}  // namespace infinipipe
