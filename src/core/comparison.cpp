#include "core/comparison.h"

#include <algorithm>
#include <map>

namespace infinipipe {

std::vector<ComparisonSummary> Comparison::summary() const {
  std::map<int, Seconds> reference_seconds;
  for (const ComparisonRow& row : rows) {
    if (row.planner == reference && row.status == "ok") reference_seconds[row.batch] = row.seconds;
  }
  std::vector<ComparisonSummary> result;
  for (const std::string& planner : planners) {
    ComparisonSummary summary;
    summary.planner = planner;
    int shared = 0;
    for (const ComparisonRow& row : rows) {
      if (row.planner != planner || row.status != "ok") continue;
      ++summary.batches;
      summary.seconds_mean += row.seconds;
      if (row.lower_bound > 0.0) summary.gap_mean += row.seconds / row.lower_bound - 1.0;
      const auto found = reference_seconds.find(row.batch);
      if (found == reference_seconds.end() || found->second <= 0.0) continue;
      const double speedup = row.seconds / found->second;
      summary.speedup_mean += speedup;
      summary.speedup_min = shared == 0 ? speedup : std::min(summary.speedup_min, speedup);
      summary.speedup_max = std::max(summary.speedup_max, speedup);
      ++shared;
    }
    if (summary.batches > 0) {
      summary.seconds_mean /= summary.batches;
      summary.gap_mean /= summary.batches;
    }
    if (shared > 0) summary.speedup_mean /= shared;
    result.push_back(std::move(summary));
  }
  return result;
}

Json comparison_to_json(const Comparison& comparison) {
  Json results = Json::array();
  for (const ComparisonRow& row : comparison.rows) {
    Json entry = {{"batch", row.batch}, {"planner", row.planner}, {"status", row.status}};
    if (row.status == "ok") {
      entry.update({{"seconds", row.seconds},
                    {"tokens_per_second", row.tokens_per_second},
                    {"bubble", row.bubble},
                    {"peak_bytes", row.peak_bytes},
                    {"lower_bound", row.lower_bound},
                    {"cluster_lower_bound", row.cluster_lower_bound},
                    {"plan_seconds", row.plan_seconds},
                    {"settings", row.settings}});
    } else {
      entry["reason"] = row.reason;
    }
    results.push_back(std::move(entry));
  }
  Json summary = Json::array();
  for (const ComparisonSummary& one : comparison.summary()) {
    Json entry = {{"planner", one.planner}, {"batches", one.batches}};
    if (one.batches > 0) {
      entry["seconds_mean"] = one.seconds_mean;
      entry["gap_mean"] = one.gap_mean;
      if (comparison.allowance > 0.0) {
        entry["seconds_mean_with_allowance"] = one.seconds_mean + comparison.allowance;
      }
    }
    if (one.speedup_mean > 0.0) {
      entry[comparison.reference + "_speedup_mean"] = one.speedup_mean;
      entry[comparison.reference + "_speedup_min"] = one.speedup_min;
      entry[comparison.reference + "_speedup_max"] = one.speedup_max;
    }
    summary.push_back(std::move(entry));
  }
  Json json = {{"format", "infinipipe.compare"},
               {"version", 1},
               {"title", comparison.title},
               {"machine", comparison.machine},
               {"devices", comparison.devices},
               {"layers", comparison.layers},
               {"batch_tokens", comparison.batch_tokens},
               {"allowance_seconds", comparison.allowance},
               {"notes", comparison.notes},
               {"results", std::move(results)},
               {"summary", std::move(summary)}};
  return json;
}

}  // namespace infinipipe
