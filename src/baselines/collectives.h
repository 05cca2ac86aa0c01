// Collectives of model states, as NCCL's rings run them.
#pragma once

#include "baselines/system.h"

namespace infinipipe {

// Of the 16 bytes a parameter that profiles count as states (bf16 weight and gradient, fp32 master
// weight and two moments), the weight's share, the gradient's and the optimizer's.
inline constexpr double kWeightShare = 2.0 / 16.0;
inline constexpr double kGradientShare = 2.0 / 16.0;
inline constexpr double kOptimizerShare = 12.0 / 16.0;

// A profile without gather bandwidths has no such cost of its own: it is part of its per-chunk
// cost.
class Collectives final {
 public:
  Collectives(const Profile& profile, int devices_per_node)
      : profile_(&profile), per_node_(devices_per_node) {}

  // Seconds until every one of `degree` devices has all of `whole` bytes, of which each had its
  // part. Within a node a device receives (degree - 1)/degree of it over its own link. Across nodes
  // each device of a node brings in a different part, which the node's links then spread: the
  // slower of the two counts. 0 without bandwidths; throws InputError for a degree that is absent.
  Seconds all_gather(Bytes whole, int degree) const;
  Seconds reduce_scatter(Bytes whole, int degree) const;
  // Whether neither of them would throw.
  bool knows(int degree) const;

 private:
  Seconds ring(const std::map<int, double>& bandwidths, const char* name, Bytes whole,
               int degree) const;

  const Profile* profile_;
  int per_node_;
};

}  // namespace infinipipe
