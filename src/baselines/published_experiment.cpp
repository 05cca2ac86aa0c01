#include "baselines/published_experiment.h"

#include <algorithm>

#include "baselines/deepspeed.h"
#include "baselines/flexsp.h"
#include "baselines/systems.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

std::unique_ptr<System> deepspeed_in_one_group(const SystemContext& context) {
  if (context.devices > 1 && !context.profile.links.all_to_all.contains(context.devices)) {
    throw InputError("profile: links.all_to_all",
                     "found no degree " + std::to_string(context.devices),
                     "expected one for the calibration's single group of all devices");
  }
  DeepspeedOptions options;
  options.degrees = {context.devices};
  options.recompute = {0};
  options.fill = {0.9};
  options.balance = false;
  return make_deepspeed(context, std::move(options));
}

std::unique_ptr<System> flexsp_as_published(const SystemContext& context) {
  FlexspOptions options;
  options.least_degree = std::min(2, context.devices);
  options.recompute = {0};
  options.micro_batch_options = 1;
  return make_flexsp(context, std::move(options));
}

const std::vector<PublishedExperiment>& published_experiments() {
  static const std::vector<PublishedExperiment> kExperiments = {
      {.name = system_name::kFlexsp,
       .batch = 512,
       .batches = 40,
       .devices = 64,
       .layers = 32,
       .pad = 128,
       .longest = 191872,
       .allowance_chunks = 1.5,
       .planners = {system_name::kDeepspeed, system_name::kFlexsp},
       .make = {deepspeed_in_one_group, flexsp_as_published},
       .measured = {8.08, 4.71},
       .source = "arXiv 2412.01523: GPT 6.7B, 64 x A100-40GB, Wikipedia, 192K, batch 512"}};
  return kExperiments;
}

}  // namespace

std::vector<std::string> published_experiment_names() { return names_of(published_experiments()); }

const PublishedExperiment& published_experiment(const std::string& name) {
  return named(published_experiments(), name, "calibration", "unknown calibration");
}

std::vector<std::vector<Tokens>> published_batches(const PublishedExperiment& experiment,
                                                   std::span<const Tokens> lengths, int batch,
                                                   int batches) {
  INFINIPIPE_ASSERT(batch >= 1 && batches >= 1, "no batches");
  std::vector<std::vector<Tokens>> result(1);
  for (const Tokens length : lengths) {
    const Tokens padded = (length + experiment.pad - 1) / experiment.pad * experiment.pad;
    if (padded > experiment.longest) continue;
    if (static_cast<int>(result.back().size()) == batch) {
      if (static_cast<int>(result.size()) == batches) return result;
      result.emplace_back();
    }
    result.back().push_back(padded);
  }
  const std::int64_t found = static_cast<std::int64_t>(result.size() - 1) * batch +
                             static_cast<std::int64_t>(result.back().size());
  const std::int64_t needed = std::int64_t{batch} * batches;
  if (found < needed) {
    throw InputError(
        "lengths",
        format_count(found) + " of at most " + format_count(experiment.longest) + " tokens",
        "expected " + format_count(needed) + " for " + std::to_string(batches) + " batches of " +
            std::to_string(batch),
        "give fewer --batches or a longer file");
  }
  return result;
}

std::unique_ptr<System> make_published_system(const PublishedExperiment& experiment,
                                              const std::string& name,
                                              const SystemContext& context) {
  for (std::size_t i = 0; i < experiment.planners.size(); ++i) {
    if (experiment.planners[i] == name) return experiment.make[i](context);
  }
  return make_system(name, context);
}

}  // namespace infinipipe
