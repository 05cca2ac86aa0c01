// A step in words and numbers, for terminals.
#pragma once

#include <string>
#include <vector>

#include "infinipipe/core/plan.h"
#include "infinipipe/core/trace.h"

namespace infinipipe {

// A line of totals (seconds, tokens/s, bubble, gap to the lower bound) and a row for each stage:
// layers, compute, recompute, wait, peak memory, share of `limit` (0: the plan's).
std::string step_table(const Plan& plan, const Prediction& prediction, Bytes limit = 0.0);

// The most bytes that a stage held for one purpose at any time; purposes have theirs at different
// times, so they do not add up to the peak.
struct PurposePeak {
  StageId stage;
  MemoryPurpose purpose = MemoryPurpose::kWeights;
  Bytes predicted = 0.0;
  Bytes measured = 0.0;
  Bytes stage_peak = 0.0;  // measured, all purposes together
};

// How well a prediction met the measurement, over instructions that both traces have.
struct TraceComparison {
  std::size_t instructions = 0;
  Seconds predicted_seconds = 0.0;  // of the step
  Seconds measured_seconds = 0.0;
  double predicted_bubble = 0.0;
  double measured_bubble = 0.0;
  double error_median = 0.0;  // |predicted - measured| / measured of an instruction's duration
  double error_p95 = 0.0;
  std::vector<double> stage_time_error;    // of busy time, (predicted - measured) / measured
  std::vector<double> stage_memory_error;  // of the peak, likewise; empty without samples
  std::vector<PurposePeak> memory;         // by stage; purposes that either trace has
};

TraceComparison compare_traces(const Trace& predicted, const Trace& measured);
std::string comparison_table(const TraceComparison& comparison);

}  // namespace infinipipe
