#include "report/step_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/report/test_traces.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using testing::make_plan;
using testing::make_trace;
using ::testing::Not;

Prediction prediction() {
  Prediction p;
  p.seconds = 2.0;
  p.lower_bound = 1.6;
  p.bubble = 0.125;
  p.stages = {{1.5, 0.25, 0.25, 3.0 * (1 << 30)}, {1.5, 0.0, 0.5, 1.0 * (1 << 30)}};
  return p;
}

TEST(StepTable, Golden) {
  Plan plan = make_plan();
  const std::string tokens = format_count(plan.total_tokens() / 2);
  EXPECT_EQ(step_table(plan, prediction(), 4.0 * (1 << 30)),
            "2.00 s, " + tokens +
                " tokens/s, bubble 12.5%, lower bound 1.60 s (25.0% above it)\n"
                "stage  layers  compute  recompute      wait   busy  peak memory  of 4.0 GiB\n"
                "    0     0-1   1.50 s   250.0 ms  250.0 ms  87.5%      3.0 GiB       75.0%\n"
                "    1     2-3   1.50 s     0.0 us  500.0 ms  75.0%      1.0 GiB       25.0%\n");
}

TEST(StepTable, LeavesOutWhatIsNotThere) {
  Prediction p = prediction();
  p.lower_bound = 0.0;
  const std::string text = step_table(make_plan(), p);
  EXPECT_THAT(text, Not(HasSubstr("lower bound")));
  EXPECT_THAT(text, Not(HasSubstr(" of ")));
  EXPECT_THAT(text, Not(HasSubstr("outside")));
  p.step_overhead = 0.5;
  EXPECT_THAT(step_table(make_plan(), p), HasSubstr("and 500.0 ms outside instructions"));
}

TEST(CompareTraces, AgreesWithItself) {
  const Plan plan = make_plan();
  const Trace trace = make_trace(plan);
  const TraceComparison c = compare_traces(trace, trace);
  EXPECT_EQ(c.instructions, trace.events.size());
  EXPECT_EQ(c.error_median, 0.0);
  EXPECT_EQ(c.error_p95, 0.0);
  EXPECT_THAT(c.stage_time_error, ::testing::Each(0.0));
  EXPECT_THAT(c.stage_memory_error, ::testing::Each(0.0));
  EXPECT_EQ(c.stage_memory_error.size(), 2u);
}

TEST(CompareTraces, MeasuresRelativeToTheMeasurement) {
  const Plan plan = make_plan();
  const Trace predicted = make_trace(plan);
  Trace measured = make_trace(plan, "measured", 1.25);
  for (MemorySample& sample : measured.memory) {
    for (Bytes& bytes : sample.bytes) bytes *= 0.5;
  }
  const TraceComparison c = compare_traces(predicted, measured);
  EXPECT_NEAR(c.error_median, 0.2, 1e-12);
  EXPECT_NEAR(c.error_p95, 0.2, 1e-12);
  for (const double error : c.stage_time_error) EXPECT_NEAR(error, -0.2, 1e-12);
  for (const double error : c.stage_memory_error) EXPECT_NEAR(error, 1.0, 1e-12);
  const std::string text = comparison_table(c);
  EXPECT_THAT(text, HasSubstr("median error 20.0%"));
  EXPECT_THAT(text, HasSubstr("-20.0%"));
  EXPECT_THAT(text, HasSubstr("100.0%"));
}

TEST(CompareTraces, SetsTheMostOfEachPurposeSideBySide) {
  const Plan plan = make_plan();
  const Trace predicted = make_trace(plan);
  Trace measured = predicted;
  const auto weights = static_cast<std::size_t>(MemoryPurpose::kWeights);
  const auto kv = static_cast<std::size_t>(MemoryPurpose::kKv);
  for (MemorySample& sample : measured.memory) sample.bytes[weights] = 800.0;
  measured.memory.back().bytes[kv] = 64.0;
  const TraceComparison c = compare_traces(predicted, measured);
  int found = 0;
  for (const PurposePeak& peak : c.memory) {
    if (peak.purpose == MemoryPurpose::kWeights) {
      EXPECT_EQ(peak.predicted, 1000.0);
      EXPECT_EQ(peak.measured, 800.0);
      EXPECT_GT(peak.stage_peak, 800.0);
      ++found;
    } else if (peak.purpose == MemoryPurpose::kKv) {
      EXPECT_EQ(peak.stage, measured.memory.back().stage);
      EXPECT_EQ(peak.predicted, 0.0);
      EXPECT_EQ(peak.measured, 64.0);
      ++found;
    } else {
      EXPECT_EQ(peak.purpose, MemoryPurpose::kActivations) << "others have nothing";
      EXPECT_EQ(peak.predicted, peak.measured);
    }
  }
  EXPECT_EQ(found, 3) << "weights of two stages, K and V of one";
  EXPECT_THAT(comparison_table(c), HasSubstr("activations"));
  EXPECT_THAT(comparison_table(c), HasSubstr("1000 B     800 B"));
}

TEST(CompareTraces, OneOddInstructionIsInTheTailOnly) {
  const Plan plan = make_plan();
  const Trace predicted = make_trace(plan);
  Trace measured = predicted;
  measured.events[0].end += 9.0;
  const TraceComparison c = compare_traces(predicted, measured);
  EXPECT_EQ(c.error_median, 0.0);
  EXPECT_EQ(c.error_p95, 0.0);
  measured.events.resize(1);
  const TraceComparison only = compare_traces(predicted, measured);
  EXPECT_EQ(only.instructions, 1u);
  EXPECT_NEAR(only.error_p95, 9.0 / 10.01, 1e-9);
}

TEST(CompareTraces, WithoutCommonGroundIsEmpty) {
  const Plan plan = make_plan();
  const TraceComparison c = compare_traces(make_trace(plan), Trace{});
  EXPECT_EQ(c.instructions, 0u);
  EXPECT_TRUE(c.stage_time_error.empty());
  EXPECT_THAT(comparison_table(c), HasSubstr("over 0 instructions"));
}

}  // namespace
}  // namespace infinipipe
