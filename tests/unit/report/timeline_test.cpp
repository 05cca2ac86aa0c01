#include "infinipipe/report/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "infinipipe/base/json.h"
#include "unit/report/test_traces.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;
using testing::make_plan;
using testing::make_trace;
using ::testing::Not;
using testing::PlanShape;

// The object that the page's script reads.
Json data_of(const std::string& page) {
  const std::string start = "const DATA = ";
  const std::size_t begin = page.find(start) + start.size();
  const std::size_t end = page.find("};\n", begin) + 1;
  return parse_json(page.substr(begin, end - begin), "DATA");
}

TEST(Timeline, IsOnePageThatNeedsNothingElse) {
  const Plan plan = make_plan();
  const std::string page = html_timeline(plan, make_trace(plan));
  EXPECT_THAT(page, HasSubstr("<!doctype html>"));
  for (const char* outside :
       {"http://", "https://", "src=", "<link", "@import", "url(", "fetch("}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
  std::size_t scripts = 0;
  for (std::size_t at = page.find("</script"); at != std::string::npos;
       at = page.find("</script", at + 1)) {
    ++scripts;
  }
  EXPECT_EQ(scripts, 1u);
}

TEST(Timeline, CarriesEveryEventOfEveryStage) {
  PlanShape shape;
  shape.stages = 3;
  shape.replicas = 2;
  Plan plan = make_plan(shape);
  plan.replicas[0].pipelines[0].chunks.back().degree = 2;
  plan.bytes_per_stage = 5e9;
  plan.predicted.emplace();
  plan.predicted->lower_bound = 2.5;
  const Trace trace = make_trace(plan);
  const Json data = data_of(html_timeline(plan, trace));
  EXPECT_EQ(data["limit"], 5e9);
  EXPECT_EQ(data["bound"], 2.5);
  EXPECT_EQ(data["tokens"], plan.total_tokens());
  EXPECT_EQ(data["layers"], Json::parse("[[0,2],[2,4],[4,6]]"));
  ASSERT_EQ(data["replicas"].size(), 2u);
  ASSERT_EQ(data["traces"].size(), 1u);
  const Json& page_trace = data["traces"][0];
  EXPECT_EQ(page_trace["name"], "predicted");
  EXPECT_NEAR(page_trace["seconds"].get<double>(), trace.seconds, 1e-6 * trace.seconds);
  std::size_t samples = 0, links = 0;
  for (std::size_t r = 0; r < 2; ++r) {
    for (std::size_t p = 0; p < 3; ++p) {
      const Json& stage = page_trace["replicas"][r]["stages"][p];
      const auto& list = plan.replicas[r].instructions[p];
      ASSERT_EQ(stage["events"].size(), list.size());
      for (std::size_t i = 0; i < list.size(); ++i) {
        const Json& event = stage["events"][i];
        EXPECT_EQ(event[0], static_cast<int>(list[i].op));
        const Json& chunk = data["replicas"][r]["chunks"][event[1].get<std::size_t>()];
        EXPECT_EQ(chunk[0], list[i].pipeline.value());
        EXPECT_EQ(chunk[1], list[i].chunk.value());
        EXPECT_EQ(chunk[2], static_cast<int>(plan.replicas[r].chunk(list[i]).kind));
        EXPECT_EQ(chunk[3], plan.replicas[r].chunk(list[i]).tokens());
        EXPECT_EQ(chunk[10], plan.replicas[r].chunk(list[i]).degree);
      }
      samples += stage["memory"].size();
      links += stage["links"].size();
    }
  }
  EXPECT_EQ(samples, trace.memory.size());
  EXPECT_EQ(links, trace.transfers.size());
}

TEST(Timeline, MeasuredStandsBesidePredicted) {
  const Plan plan = make_plan();
  const Trace predicted = make_trace(plan);
  const Trace measured = make_trace(plan, "measured", 1.5);
  const Json data = data_of(html_timeline(plan, predicted, &measured));
  ASSERT_EQ(data["traces"].size(), 2u);
  EXPECT_EQ(data["traces"][1]["name"], "measured");
  EXPECT_GT(data["traces"][1]["seconds"], data["traces"][0]["seconds"]);
}

TEST(Timeline, EventsOfUnknownChunksAndStagesAreLeftOut) {
  const Plan plan = make_plan();
  const Trace good = make_trace(plan);
  Trace odd = good;
  odd.events.push_back({ReplicaId(0), StageId(0), {Op::kForward, PipelineId(9), ChunkId(0)}});
  odd.events.push_back({ReplicaId(0), StageId(0), {Op::kForward, PipelineId(0), ChunkId(99)}});
  odd.events.push_back({ReplicaId(0), StageId(7), {Op::kForward, PipelineId(0), ChunkId(0)}});
  odd.events.push_back({ReplicaId(3), StageId(0), {Op::kForward, PipelineId(0), ChunkId(0)}});
  odd.memory.push_back({ReplicaId(0), StageId(7), 0.0, {}});
  odd.transfers.push_back(
      {ReplicaId(0), StageId(0), StageId(1), {Op::kForward, PipelineId(9), ChunkId(0)}});
  EXPECT_EQ(html_timeline(plan, odd), html_timeline(plan, good));
}

TEST(Timeline, TitleCannotBreakThePage) {
  const Plan plan = make_plan();
  TimelineOptions options;
  options.title = "</script><b>\"x\" \xff";
  options.limit = 123.0;
  const std::string page = html_timeline(plan, make_trace(plan), nullptr, options);
  EXPECT_THAT(page, Not(HasSubstr("</script><b>")));
  const Json data = data_of(page);
  EXPECT_THAT(data["title"].get<std::string>(), HasSubstr("</script><b>\"x\""));
  EXPECT_EQ(data["limit"], 123.0) << "goes before the plan's";
}

TEST(Timeline, GroupsModelStates) {
  const Plan plan = make_plan();
  Trace trace = make_trace(plan);
  for (MemorySample& sample : trace.memory) {
    sample.bytes[static_cast<std::size_t>(MemoryPurpose::kGradients)] = 20.0;
    sample.bytes[static_cast<std::size_t>(MemoryPurpose::kOptimizer)] = 3.0;
  }
  const Json data = data_of(html_timeline(plan, trace));
  EXPECT_EQ(data["traces"][0]["replicas"][0]["stages"][0]["memory"][0][1], 1023.0);
}

TEST(Timeline, EmptyTraceMakesAPage) {
  const Plan plan = make_plan();
  EXPECT_THAT(html_timeline(plan, Trace{}), HasSubstr("\"events\":[]"));
}

}  // namespace
}  // namespace infinipipe
