#include "report/step_table.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "report/text_table.h"

namespace infinipipe {
namespace {

double share_of(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }

double relative_error(double predicted, double measured) {
  return measured != 0.0 ? (predicted - measured) / measured : 0.0;
}

using EventKey = std::tuple<int, int, int, int, int>;

EventKey key_of(const TraceEvent& event) {
  return {event.replica.value(), event.stage.value(), static_cast<int>(event.instruction.op),
          event.instruction.pipeline.value(), event.instruction.chunk.value()};
}

template <class Records>
std::size_t stage_count(const Records& records) {
  std::size_t count = 0;
  for (const auto& record : records) count = std::max(count, record.stage.index() + 1);
  return count;
}

std::vector<Seconds> busy_by_stage(const Trace& trace) {
  std::vector<Seconds> busy(stage_count(trace.events), 0.0);
  for (const TraceEvent& event : trace.events) busy[event.stage.index()] += event.end - event.begin;
  return busy;
}

std::vector<Bytes> peak_by_stage(const Trace& trace) {
  std::vector<Bytes> peak(stage_count(trace.memory), 0.0);
  for (const MemorySample& sample : trace.memory) {
    Bytes total = 0.0;
    for (const Bytes bytes : sample.bytes) total += bytes;
    peak[sample.stage.index()] = std::max(peak[sample.stage.index()], total);
  }
  return peak;
}

// The most bytes of each purpose.
std::vector<MemoryByPurpose> purposes_by_stage(const Trace& trace) {
  std::vector<MemoryByPurpose> most(stage_count(trace.memory), MemoryByPurpose{});
  for (const MemorySample& sample : trace.memory) {
    MemoryByPurpose& of_stage = most[sample.stage.index()];
    for (std::size_t i = 0; i < kMemoryPurposes; ++i) {
      of_stage[i] = std::max(of_stage[i], sample.bytes[i]);
    }
  }
  return most;
}

std::vector<double> errors(const std::vector<double>& predicted,
                           const std::vector<double>& measured) {
  std::vector<double> result;
  for (std::size_t i = 0; i < std::min(predicted.size(), measured.size()); ++i) {
    result.push_back(relative_error(predicted[i], measured[i]));
  }
  return result;
}

}  // namespace

std::string step_table(const Plan& plan, const Prediction& prediction, Bytes limit) {
  if (limit <= 0.0) limit = plan.bytes_per_stage;
  const auto tokens = static_cast<double>(plan.total_tokens());
  std::string text = format_seconds(prediction.seconds) + ", ";
  text += format_count(std::llround(share_of(tokens, prediction.seconds))) + " tokens/s, bubble " +
          percent(prediction.bubble);
  if (prediction.lower_bound > 0.0) {
    text += ", lower bound " + format_seconds(prediction.lower_bound) + " (" +
            percent(prediction.seconds / prediction.lower_bound - 1.0) + " above it)";
  }
  if (prediction.step_overhead > 0.0) {
    text += ", and " + format_seconds(prediction.step_overhead) + " outside instructions";
  }
  text += '\n';
  std::vector<std::vector<std::string>> rows = {
      {"stage", "layers", "compute", "recompute", "wait", "busy", "peak memory"}};
  if (limit > 0.0) rows[0].push_back("of " + format_bytes(limit));
  for (std::size_t p = 0; p < prediction.stages.size(); ++p) {
    const StagePrediction& stage = prediction.stages[p];
    const std::string layers = p < plan.stages.size() ? std::to_string(plan.stages[p].begin) + "-" +
                                                            std::to_string(plan.stages[p].end - 1)
                                                      : "";
    std::vector<std::string> row = {
        std::to_string(p),
        layers,
        format_seconds(stage.compute),
        format_seconds(stage.recompute),
        format_seconds(stage.wait),
        percent(share_of(stage.compute + stage.recompute, prediction.seconds)),
        format_bytes(stage.peak_bytes)};
    if (limit > 0.0) row.push_back(percent(stage.peak_bytes / limit));
    rows.push_back(std::move(row));
  }
  return text + aligned(rows);
}

TraceComparison compare_traces(const Trace& predicted, const Trace& measured) {
  TraceComparison result;
  result.predicted_seconds = predicted.seconds;
  result.measured_seconds = measured.seconds;
  result.predicted_bubble = predicted.bubble();
  result.measured_bubble = measured.bubble();
  std::map<EventKey, Seconds> durations;
  for (const TraceEvent& event : predicted.events)
    durations[key_of(event)] = event.end - event.begin;
  std::vector<double> differences;
  for (const TraceEvent& event : measured.events) {
    const auto found = durations.find(key_of(event));
    if (found == durations.end() || event.end <= event.begin) continue;
    differences.push_back(std::abs(relative_error(found->second, event.end - event.begin)));
  }
  result.instructions = differences.size();
  if (!differences.empty()) {
    std::sort(differences.begin(), differences.end());
    const auto at = [&](double share) {
      const double position = share * static_cast<double>(differences.size() - 1);
      return differences[static_cast<std::size_t>(std::llround(position))];
    };
    result.error_median = at(0.5);
    result.error_p95 = at(0.95);
  }
  result.stage_time_error = errors(busy_by_stage(predicted), busy_by_stage(measured));
  const std::vector<Bytes> peaks = peak_by_stage(measured);
  result.stage_memory_error = errors(peak_by_stage(predicted), peaks);
  const std::vector<MemoryByPurpose> expected = purposes_by_stage(predicted);
  const std::vector<MemoryByPurpose> found = purposes_by_stage(measured);
  for (std::size_t p = 0; p < std::min(expected.size(), found.size()); ++p) {
    for (std::size_t i = 0; i < kMemoryPurposes; ++i) {
      if (expected[p][i] <= 0.0 && found[p][i] <= 0.0) continue;
      result.memory.push_back(
          {StageId(p), static_cast<MemoryPurpose>(i), expected[p][i], found[p][i], peaks[p]});
    }
  }
  return result;
}

std::string comparison_table(const TraceComparison& c) {
  std::string text = "predicted " + format_seconds(c.predicted_seconds) + ", measured " +
                     format_seconds(c.measured_seconds) + " (" +
                     percent(relative_error(c.predicted_seconds, c.measured_seconds)) +
                     "); bubble " + percent(c.predicted_bubble) + ", measured " +
                     percent(c.measured_bubble) + '\n';
  text += "an instruction's time: median error " + percent(c.error_median) + ", 95th percentile " +
          percent(c.error_p95) + ", over " +
          format_count(static_cast<std::int64_t>(c.instructions)) + " instructions\n";
  std::vector<std::vector<std::string>> rows = {{"stage", "error of busy time", "of peak memory"}};
  for (std::size_t p = 0; p < c.stage_time_error.size(); ++p) {
    rows.push_back(
        {std::to_string(p), percent(c.stage_time_error[p]),
         p < c.stage_memory_error.size() ? percent(c.stage_memory_error[p]) : "not measured"});
  }
  text += aligned(rows);
  if (c.memory.empty()) return text;
  rows = {{"stage", "most bytes of", "predicted", "measured", "difference, of the peak"}};
  for (const PurposePeak& peak : c.memory) {
    rows.push_back({std::to_string(peak.stage.value()), to_string(peak.purpose),
                    format_bytes(peak.predicted), format_bytes(peak.measured),
                    percent(share_of(peak.predicted - peak.measured, peak.stage_peak))});
  }
  return text + aligned(rows);
}

}  // namespace infinipipe
