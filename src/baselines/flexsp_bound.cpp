#include "baselines/flexsp_bound.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "baselines/flexsp_problem.h"

namespace infinipipe {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kRoundingGuard = 1.0 - 1e-12;

}  // namespace

FlexBound::FlexBound(const std::vector<Tokens>& lengths, const std::vector<DeviceGroupCost>& costs,
                     int devices)
    : costs_(&costs), devices_(devices) {
  constant_ = kInfinity;
  floor_ = kInfinity;
  for (const DeviceGroupCost& cost : costs) {
    constant_ = std::min(constant_, cost.constant());
    floor_ = std::min(floor_, cost.gather_seconds());
  }
  for (const Tokens length : lengths) {
    if (kinds_.empty() || kinds_.back().length != length) {
      Kind kind{.length = length, .count = 0, .seconds = {}};
      for (const DeviceGroupCost& cost : costs) {
        kind.seconds.push_back(length <= cost.capacity() ? cost.sequence(length) : kInfinity);
      }
      kinds_.push_back(std::move(kind));
    }
    ++kinds_.back().count;
  }
  if (kinds_.empty()) return;

  // The least time at which the devices could do the work: bisection between a time that is too
  // short and one that may do.
  Seconds high = constant_;
  for (const Kind& kind : kinds_) {
    const Seconds least = *std::min_element(kind.seconds.begin(), kind.seconds.end());
    if (least == kInfinity) {
      overall_ = kInfinity;
      return;
    }
    Seconds dearest = 0.0;
    for (const Seconds s : kind.seconds) dearest = s < kInfinity ? std::max(dearest, s) : dearest;
    high += kind.count * dearest * costs.back().degree();
  }
  Seconds low = 0.0;
  for (int step = 0; step < 60; ++step) {
    const Seconds middle = 0.5 * (low + high);
    (possible(middle) ? high : low) = middle;
  }
  overall_ = std::max(low * kRoundingGuard, floor_ * kRoundingGuard);
}

// Not disproved: every sequence has a degree at which it alone ends in time, and at the cheapest of
// those the devices have enough time together.
bool FlexBound::possible(Seconds seconds) const {
  const Seconds seconds_left = seconds - constant_;
  if (seconds_left < 0.0) return false;
  Seconds work = 0.0;
  for (const Kind& kind : kinds_) {
    Seconds least = kInfinity;
    for (std::size_t c = 0; c < costs_->size(); ++c) {
      if (kind.seconds[c] > seconds_left) continue;
      least = std::min(least, kind.seconds[c] * (*costs_)[c].degree());
    }
    work += kind.count * least;
  }
  return work <= devices_ * seconds_left;
}

// Any weights of the groups, w_g >= 0 with sum 1, and prices p_d >= 0 of a class's tokens bound the
// slowest group: max_g busy_g >= sum_g w_g busy_g >= constant + sum over sequences of the least
// w_d t_d(s) + p_d s, less the price of all the room. Groups of a degree share a weight.
Seconds FlexBound::of(const Configuration& configuration, Seconds upper, int effort) const {
  const std::size_t classes = costs_->size();
  std::vector<double> weight(classes, 0.0);
  std::vector<double> price(classes, 0.0);
  for (std::size_t c = 0; c < classes; ++c) {
    if (configuration[c] > 0) weight[c] = static_cast<double>((*costs_)[c].degree()) / devices_;
  }
  const Seconds seconds_left = upper - constant_;
  Seconds best = overall_;
  std::vector<double> busy(classes);
  std::vector<double> tokens(classes);
  for (int step = 0; step <= effort; ++step) {
    std::fill(busy.begin(), busy.end(), 0.0);
    std::fill(tokens.begin(), tokens.end(), 0.0);
    double sum = constant_;
    for (const Kind& kind : kinds_) {
      double least = kInfinity;
      std::size_t at = 0;
      for (std::size_t c = 0; c < classes; ++c) {
        if (configuration[c] == 0 || kind.seconds[c] >= seconds_left) continue;
        const double value =
            weight[c] * kind.seconds[c] + price[c] * static_cast<double>(kind.length);
        if (value < least) {
          least = value;
          at = c;
        }
      }
      if (least == kInfinity) return upper;  // this one alone is too long for every group
      sum += kind.count * least;
      busy[at] += kind.count * kind.seconds[at];
      tokens[at] += static_cast<double>(kind.count) * static_cast<double>(kind.length);
    }
    double total_tokens = 0.0;
    for (std::size_t c = 0; c < classes; ++c) {
      if (configuration[c] == 0) continue;
      sum -= price[c] * configuration[c] * static_cast<double>((*costs_)[c].capacity());
      total_tokens += tokens[c];
    }
    best = std::max(best, sum * kRoundingGuard);
    if (best >= upper || step == effort) break;
    // Dearer where there is too much, cheaper where there is too little.
    const double rate = 0.5 / (1.0 + 0.15 * step);
    double norm = 0.0;
    for (std::size_t c = 0; c < classes; ++c) {
      if (configuration[c] == 0) continue;
      const double share = busy[c] / configuration[c] / std::max(1e-30, sum - constant_);
      weight[c] *= std::exp(rate * std::clamp(share - 1.0, -1.0, 1.0));
      norm += weight[c] * configuration[c];
      const double capacity = configuration[c] * static_cast<double>((*costs_)[c].capacity());
      const double excess = (tokens[c] - capacity) / std::max(1.0, total_tokens);
      price[c] = std::max(
          0.0, price[c] + rate * 0.2 * excess * (sum - constant_) / std::max(1.0, total_tokens));
    }
    for (double& w : weight) w /= norm;
  }
  return std::min(best, upper);
}

Seconds assignment_lower_bound(const std::vector<Tokens>& lengths,
                               const std::vector<DeviceGroupCost>& costs, int devices) {
  return FlexBound(lengths, costs, devices).overall();
}

}  // namespace infinipipe
