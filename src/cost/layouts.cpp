#include "cost/layouts.h"

#include <algorithm>
#include <cstdint>

#include "core/head_shares.h"
#include "cost/step_overhead.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

void at_least_one(const char* what, int value, const char* next = "") {
  if (value >= 1) return;
  throw InputError(what, "found " + std::to_string(value), "expected at least 1", next);
}

std::vector<int> divisors(int number) {
  std::vector<int> result;
  for (std::int64_t i = 1; i * i <= number; ++i) {
    if (number % i != 0) continue;
    result.push_back(static_cast<int>(i));
    if (i * i != number) result.push_back(static_cast<int>(number / i));
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::string count(int number, const char* what) {
  return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
}

std::string reason(const Profile& profile, int layers, const Parallelism& parallelism,
                   int devices_per_node) {
  const int stages = parallelism.stages;
  const int degree = parallelism.sequence_parallel;
  if (stages > layers) return count(stages, "stage") + " for " + count(layers, "layer");
  if (const std::size_t speeds = profile.stage_speed.size();
      speeds > 0 && speeds != static_cast<std::size_t>(stages)) {
    return "profile: stage_speed: found " + std::to_string(speeds) + " speeds for " +
           count(stages, "stage");
  }
  if (degree > devices_per_node && degree % devices_per_node != 0) {
    return "a group of " + std::to_string(degree) + " does not fill nodes of " +
           std::to_string(devices_per_node);
  }
  if (std::string refused = heads_refusal(profile.heads, degree); !refused.empty()) return refused;
  if (degree > 1 && !profile.links.all_to_all.contains(degree)) {
    return "profile: links.all_to_all: no bandwidth for degree " + std::to_string(degree);
  }
  return absent_bandwidth(profile, parallelism, devices_per_node);
}

}  // namespace

std::vector<Layout> cluster_layouts(const Profile& profile, int layers, int devices,
                                    int devices_per_node) {
  at_least_one("cluster.devices", devices, "say how many devices the cluster has");
  at_least_one("cluster.devices_per_node", devices_per_node);
  at_least_one("model.num_hidden_layers", layers);
  std::vector<Layout> result;
  for (const int stages : divisors(devices)) {
    const int rest = devices / stages;
    for (std::int64_t degree = 1; degree <= rest && rest % degree == 0; degree *= 2) {
      const int group = static_cast<int>(degree);
      const Parallelism parallelism{stages, group, rest / group};
      result.push_back({parallelism, reason(profile, layers, parallelism, devices_per_node),
                        uneven_heads(profile.heads, group)});
    }
  }
  return result;
}

}  // namespace infinipipe
