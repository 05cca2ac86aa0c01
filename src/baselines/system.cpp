#include "baselines/system.h"

#include <algorithm>
#include <limits>

#include "baselines/systems.h"
#include "cost/layouts.h"
#include "cost/lower_bound.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

void check(const SystemContext& context) {
  const std::string devices = std::to_string(context.devices);
  if (context.devices < 1) {
    throw InputError("cluster.devices", "found " + devices, "expected at least 1");
  }
  if (context.devices_per_node < 1) {
    throw InputError("cluster.devices_per_node",
                     "found " + std::to_string(context.devices_per_node), "expected at least 1");
  }
  if (context.layers < 1) {
    throw InputError("model.num_hidden_layers", "found " + std::to_string(context.layers),
                     "expected at least 1");
  }
  if (!context.parallelism) return;
  const Parallelism& p = *context.parallelism;
  const std::int64_t product = std::int64_t{p.stages} * p.sequence_parallel * p.data_parallel;
  if (p.stages < 1 || p.sequence_parallel < 1 || p.data_parallel < 1 ||
      product != context.devices) {
    throw InputError("parallelism",
                     std::to_string(p.stages) + " stages x " + std::to_string(p.sequence_parallel) +
                         " sequence parallel x " + std::to_string(p.data_parallel) +
                         " data parallel",
                     "expected the " + devices + " devices of the cluster");
  }
}

}  // namespace

const char* to_string(SystemStatus status) {
  return status == SystemStatus::kOk ? "ok" : "out_of_memory";
}

std::vector<std::string> system_names() { return names_of(systems()); }

std::unique_ptr<System> make_system(const std::string& name, const SystemContext& context) {
  const SystemRow& row = system_row(name);
  check(context);
  return row.make(row, context);
}

std::vector<Parallelism> pipeline_parallelisms(const SystemContext& context) {
  check(context);
  if (context.parallelism) return {*context.parallelism};
  std::vector<Parallelism> result;
  for (const Layout& layout : cluster_layouts(context.profile, context.layers, context.devices,
                                              context.devices_per_node)) {
    if (layout.possible()) result.push_back(layout.parallelism);
  }
  return result;
}

Seconds cluster_lower_bound(const SystemContext& context, std::span<const Tokens> sequences) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Seconds least = kInfinity;
  for (const Parallelism& parallelism : pipeline_parallelisms(context)) {
    const LowerBound bound = lower_bound(context.profile, parallelism, context.layers, sequences,
                                         context.limit(), false, context.planner.sub_groups());
    if (bound.fits) least = std::min(least, bound.seconds);
  }
  return least == kInfinity ? 0.0 : least;
}

}  // namespace infinipipe
