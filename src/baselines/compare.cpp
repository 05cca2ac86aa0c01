#include "baselines/compare.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>

#include "infinipipe/base/error.h"

namespace infinipipe {

namespace {

// Runs work(i) for i < count on so many threads; the first exception by index is thrown.
void for_each_index(std::size_t count, int threads, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::exception_ptr> errors(count);
  const auto run = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  };
  std::vector<std::thread> pool;
  try {
    for (int t = 1; t < threads && pool.size() + 1 < count; ++t) pool.emplace_back(run);
  } catch (const std::exception&) {  // no more threads to be had: what there is will do
  }
  run();
  for (std::thread& thread : pool) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

ComparisonRow row_of(int batch, const std::string& planner, SystemResult result) {
  ComparisonRow row;
  row.batch = batch;
  row.planner = planner;
  row.status = to_string(result.status);
  row.reason = std::move(result.reason);
  row.seconds = result.seconds;
  row.tokens_per_second = result.tokens_per_second;
  row.bubble = result.bubble;
  row.peak_bytes = std::move(result.peak_bytes);
  row.lower_bound = result.lower_bound;
  row.plan_seconds = result.plan_seconds;
  row.settings = std::move(result.settings);
  return row;
}

Json experiment_notes(const PublishedExperiment& experiment) {
  Json measured = Json::object();
  for (std::size_t i = 0; i < experiment.planners.size(); ++i) {
    measured[experiment.planners[i]] = experiment.measured[i];
  }
  return {{"calibration", experiment.name},
          {"source", experiment.source},
          {"measured_seconds", std::move(measured)}};
}

}  // namespace

Comparison compare_systems(const SystemContext& context, const CompareRequest& request) {
  std::set<std::string> names;
  for (const std::string& name : request.planners) {
    if (names.insert(name).second) continue;
    throw InputError("planners", "'" + name + "' twice", "expected each system once");
  }
  INFINIPIPE_ASSERT(request.threads >= 1, "no thread to compare on");
  Comparison comparison;
  comparison.machine = context.profile.machine;
  comparison.devices = context.devices;
  comparison.layers = context.layers;
  comparison.planners = request.planners;
  comparison.notes = Json::object();
  if (request.experiment) {
    const PublishedExperiment& experiment = *request.experiment;
    comparison.notes = experiment_notes(experiment);
    comparison.allowance =
        experiment.allowance_chunks *
        (context.profile.forward.seconds_per_chunk + context.profile.backward.seconds_per_chunk);
  }
  std::vector<std::unique_ptr<System>> systems;
  for (const std::string& name : request.planners) {
    systems.push_back(request.experiment ? make_published_system(*request.experiment, name, context)
                                         : make_system(name, context));
  }

  std::mutex mutex;
  std::size_t done = 0;
  const std::size_t planners = systems.size();
  const std::size_t batches = request.batches.size();
  const auto advance = [&](const std::string& what, std::size_t total) {
    const std::lock_guard lock(mutex);
    ++done;
    if (request.progress) {
      request.progress(what + " (" + std::to_string(done) + " of " + std::to_string(total) + ")");
    }
  };
  if (!request.experiment) {
    for_each_index(planners, request.threads, [&](std::size_t p) {
      systems[p]->tune(request.batches);
      advance(request.planners[p] + " tuned", planners);
    });
    done = 0;
  }

  comparison.rows.resize(batches * planners);
  std::vector<Seconds> bounds(batches, 0.0);
  for_each_index(batches, request.threads, [&](std::size_t b) {
    bounds[b] = cluster_lower_bound(context, request.batches[b]);
  });
  for_each_index(batches * planners, request.threads, [&](std::size_t i) {
    const std::size_t b = i / planners;
    const std::size_t p = i % planners;
    comparison.rows[i] =
        row_of(static_cast<int>(b), request.planners[p], systems[p]->run(request.batches[b]));
    comparison.rows[i].cluster_lower_bound = bounds[b];
    advance("batch " + std::to_string(b) + ", " + request.planners[p], batches * planners);
  });
  for (const std::vector<Tokens>& batch : request.batches) {
    comparison.batch_tokens.push_back(std::accumulate(batch.begin(), batch.end(), Tokens{0}));
  }
  return comparison;
}

}  // namespace infinipipe
