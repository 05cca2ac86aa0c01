#include "baselines/collectives.h"

#include <algorithm>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

double bandwidth(const std::map<int, double>& bandwidths, const char* name, int degree) {
  const auto found = bandwidths.find(degree);
  if (found != bandwidths.end()) return found->second;
  throw InputError(std::string("profile: links.") + name,
                   "found no degree " + std::to_string(degree), "expected its bytes per second",
                   "add it to the profile: sharded states are gathered over all devices");
}

}  // namespace

Seconds Collectives::ring(const std::map<int, double>& bandwidths, const char* name, Bytes whole,
                          int degree) const {
  if (degree <= 1 || bandwidths.empty()) return 0.0;
  const double rate = bandwidth(bandwidths, name, degree);
  if (degree <= per_node_ || per_node_ <= 1) {
    return whole * (degree - 1) / degree / rate;
  }
  const double nodes = static_cast<double>(degree) / per_node_;
  const Seconds across = whole / per_node_ * (nodes - 1.0) / nodes / rate;
  const Seconds inside =
      whole * (per_node_ - 1) / per_node_ / bandwidth(bandwidths, name, per_node_);
  return std::max(across, inside);
}

bool Collectives::knows(int degree) const {
  if (degree <= 1) return true;
  const auto known = [&](const std::map<int, double>& bandwidths) {
    if (bandwidths.empty()) return true;
    const bool inside = degree > per_node_ && per_node_ > 1;
    return bandwidths.contains(degree) && (!inside || bandwidths.contains(per_node_));
  };
  return known(profile_->links.all_gather) && known(profile_->links.reduce_scatter);
}

Seconds Collectives::all_gather(Bytes whole, int degree) const {
  return ring(profile_->links.all_gather, "all_gather", whole, degree);
}

Seconds Collectives::reduce_scatter(Bytes whole, int degree) const {
  return ring(profile_->links.reduce_scatter, "reduce_scatter", whole, degree);
}

}  // namespace infinipipe
