#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "infinipipe/base/error.h"
#include "infinipipe/base/file.h"
#include "infinipipe/base/json.h"
#include "support/file_size_limit.h"
#include "trainer/metrics_file.h"

namespace infinipipe {
namespace {

using ::testing::HasSubstr;

class Metrics : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static StepMetrics of(int step) {
    StepMetrics metrics;
    metrics.step = step;
    metrics.loss = 1.0 / (step + 3);
    metrics.peak_bytes = {1e9, 2e9};
    return metrics;
  }
  std::vector<int> steps() const {
    std::vector<int> all;
    const std::string text = read_file(path_);
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = text.find('\n', begin);
      all.push_back(parse_json(text.substr(begin, end - begin), "line").at("step").get<int>());
      begin = end + 1;
    }
    return all;
  }

  std::string folder_ = (std::filesystem::path(::testing::TempDir()) /
                         ("infinipipe_metrics." + std::to_string(::getpid())))
                            .string();
  std::string path_ = folder_ + "/deep/metrics.jsonl";
};

TEST_F(Metrics, ALineAStepAndNoneTwice) {
  {
    MetricsFile file(path_, 0);
    for (int step = 0; step < 5; ++step) file.append(of(step));
  }
  EXPECT_EQ(steps(), (std::vector<int>{0, 1, 2, 3, 4}));
  {
    MetricsFile file(path_, 3);  // goes on from step 3
    EXPECT_EQ(steps(), (std::vector<int>{0, 1, 2}));
    file.append(of(3));
  }
  EXPECT_EQ(steps(), (std::vector<int>{0, 1, 2, 3}));
  MetricsFile(path_, 0);
  EXPECT_EQ(read_file(path_), "");
}

TEST_F(Metrics, AHalfLineIsDroppedAndADamagedOneNamed) {
  {
    MetricsFile file(path_, 0);
    for (int step = 0; step < 3; ++step) file.append(of(step));
  }
  const std::string whole = read_file(path_);
  write_file(path_, whole.substr(0, whole.size() - 20));  // the run died while it wrote
  MetricsFile(path_, 7);
  EXPECT_EQ(steps(), (std::vector<int>{0, 1}));
  write_file(path_, "nonsense\n");
  EXPECT_THROW(MetricsFile(path_, 1), InputError);
  EXPECT_EQ(read_file(path_), "nonsense\n");
}

TEST_F(Metrics, NumbersKeepTheirDigitsAndNotANumberIsNull) {
  StepMetrics metrics = of(1);
  metrics.loss = 0.1 + 0.2;
  metrics.grad_norm = std::numeric_limits<double>::quiet_NaN();
  const Json json = parse_json(metrics_json(metrics), "line");
  EXPECT_EQ(json["loss"].get<double>(), 0.1 + 0.2);
  EXPECT_TRUE(json["grad_norm"].is_null());
  EXPECT_EQ(json["peak_bytes"].size(), 2U);
}

TEST_F(Metrics, AnEmptyPathWritesNothing) {
  MetricsFile file("", 0);
  EXPECT_NO_THROW(file.append(of(0)));
}

TEST_F(Metrics, AFullDiskIsARunError) {
  MetricsFile file(path_, 0);
  file.append(of(0));
  const FileSizeLimit limit(4096);
  std::string message;
  for (int step = 1; step < 100 && message.empty(); ++step) {
    try {
      file.append(of(step));
    } catch (const RunError& error) {
      message = error.what();
    }
  }
  EXPECT_THAT(message, HasSubstr("metrics.jsonl: cannot be written: File too large"));
}

TEST_F(Metrics, TheLineForPeopleHasWhatMatters) {
  StepMetrics metrics = of(12);
  metrics.tokens_per_second = 14210;
  metrics.mfu = 0.614;
  metrics.bubble_measured = 0.052;
  metrics.plan_seconds = 0.0042;
  const std::string line = step_line(metrics);
  for (const char* part : {"step   12", "loss 0.0667", "14,210 tok/s", "mfu 61%", "bubble  5.2%"})
    EXPECT_THAT(line, HasSubstr(part));
  EXPECT_EQ(line.find("SKIPPED"), std::string::npos);
  EXPECT_EQ(line.find("waited"), std::string::npos);
  metrics.skipped = true;
  metrics.plan_wait_seconds = 0.5;
  metrics.peak_bytes.assign(9, 1e6);
  EXPECT_THAT(step_line(metrics), HasSubstr("SKIPPED"));
  EXPECT_THAT(step_line(metrics), HasSubstr("waited"));
  EXPECT_THAT(step_line(metrics), HasSubstr("+5"));
  EXPECT_EQ(step_line(metrics).find('\n'), std::string::npos);
}

}  // namespace
}  // namespace infinipipe
