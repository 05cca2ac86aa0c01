// Ranks of one stage that exchange pieces: of weights and gradients, of which all have a copy, or
// of the activations that its shards have a part of each.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace infinipipe {

// Used by the one thread that runs the rank; every member makes the same calls in the same order.
// Sums over a group are the callers' work, in member order, so that their bits are the same on
// every engine: here bytes only move.
template <class Payload>
class Group {
 public:
  virtual ~Group() = default;

  virtual int rank() const = 0;  // among the members, 0 <= rank < size
  virtual int size() const = 0;

  // An all-to-all: give[i] goes to member i; returned in member order is what each gave to this
  // one, its own part as it is. counts[i] is the number of elements that member i gives to this
  // one; 0 is allowed. Of tensors all parts have one dtype, and what returns is flat. A part must
  // not change after it was given until the members have met again in another call. Blocks until
  // all is there; throws Aborted as a Communicator does.
  virtual std::vector<Payload> exchange(std::vector<Payload> give,
                                        std::span<const std::int64_t> counts) = 0;
};

}  // namespace infinipipe
