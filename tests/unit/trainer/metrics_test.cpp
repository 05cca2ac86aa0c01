#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "infinipipe/base/error.h"
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
  MetricsFile::Warn warn() {
    return [this](const std::string& line) { warnings_.push_back(line); };
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
  std::vector<std::string> warnings_;
};

TEST_F(Metrics, ALineAStepAndNoneTwice) {
  {
    MetricsFile file(path_, {}, warn());
    for (int step = 0; step < 5; ++step) file.append(of(step));
  }
  EXPECT_EQ(steps(), (std::vector<int>{0, 1, 2, 3, 4}));
  {
    MetricsFile file(path_, 3, warn());  // goes on from step 3
    EXPECT_EQ(steps(), (std::vector<int>{0, 1, 2, 3, 4})) << "no step is done yet";
    file.append(of(3));
  }
  EXPECT_EQ(steps(), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_TRUE(warnings_.empty());
}

// A run that trains nothing touches nothing; one that does keeps what lay there.
TEST_F(Metrics, AFreshRunKeepsAnEarlierOnesFile) {
  {
    MetricsFile file(path_, {}, warn());
    for (int step = 0; step < 3; ++step) file.append(of(step));
  }
  const std::string first = read_file(path_);
  MetricsFile(path_, {}, warn());
  EXPECT_EQ(read_file(path_), first);
  {
    MetricsFile file(path_, {}, warn());
    file.append(of(0));
  }
  EXPECT_EQ(steps(), (std::vector<int>{0}));
  EXPECT_EQ(read_file(path_ + ".old"), first);
}

TEST_F(Metrics, EveryEarlierFileStays) {
  for (int run = 0; run < 4; ++run) {
    MetricsFile file(path_, {}, warn());
    for (int step = 0; step <= run; ++step) file.append(of(step));
  }
  EXPECT_EQ(steps().size(), 4U);
  for (const auto& [name, lines] :
       std::map<std::string, int>{{".old", 1}, {".old.2", 2}, {".old.3", 3}}) {
    const std::string text = read_file(path_ + name);
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), lines) << name;
  }
}

// A run must not move its own data away.
TEST_F(Metrics, AFileOfAnotherKindIsRefused) {
  std::filesystem::create_directories(folder_ + "/deep");
  MetricsFile::require_free(path_);
  for (const char* content : {"MMIDIDX", "[1]\n", "{\n  \"step\": 1\n}\n", "{\"a\": 1}\n", "\n"}) {
    write_file(path_, content);
    try {
      MetricsFile::require_free(path_);
      FAIL() << content;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(),
                  HasSubstr("config: metrics.path: found " + path_ + ", which is no metrics file"));
    }
  }
  write_file(path_, "{\"step\": 1}\n");
  MetricsFile::require_free(path_);
  write_file(path_, "");
  MetricsFile::require_free(path_);
}

// A named pipe without a reader must not hold training up.
TEST_F(Metrics, APipeIsNotWaitedFor) {
  std::filesystem::create_directories(folder_ + "/deep");
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  MetricsFile file(path_, {}, warn());
  file.append(of(0));
  ASSERT_EQ(warnings_.size(), 1U);
  EXPECT_THAT(warnings_[0], HasSubstr("lines wait until they can be written"));
  const int reader = ::open(path_.c_str(), O_RDONLY | O_NONBLOCK);
  file.append(of(1));
  std::array<char, 65536> bytes{};
  const ssize_t got = ::read(reader, bytes.data(), bytes.size());
  ::close(reader);
  ASSERT_GT(got, 0);
  EXPECT_EQ(std::count(bytes.begin(), bytes.begin() + got, '\n'), 2);
}

TEST_F(Metrics, AHalfLineIsDroppedAndADamagedOneStays) {
  {
    MetricsFile file(path_, {}, warn());
    for (int step = 0; step < 3; ++step) file.append(of(step));
  }
  const std::string whole = read_file(path_);
  write_file(path_, "nonsense\n" + whole.substr(0, whole.size() - 20));  // died while it wrote
  {
    MetricsFile file(path_, 7, warn());
    file.append(of(7));
  }
  ASSERT_EQ(warnings_.size(), 2U);
  EXPECT_THAT(warnings_[0], HasSubstr("line 1 of " + path_));
  EXPECT_THAT(warnings_[0], HasSubstr("the line stays as it is"));
  EXPECT_THAT(warnings_[1], HasSubstr("line 4 of " + path_ + " was cut off"));
  const std::string text = read_file(path_);
  EXPECT_TRUE(text.starts_with("nonsense\n"));
  write_file(path_, text.substr(9));
  EXPECT_EQ(steps(), (std::vector<int>{0, 1, 7}));
}

// What died after the checkpoint is counted, over every restart.
TEST_F(Metrics, RepeatedStepsAndWhatTheyTookAreCounted) {
  const auto write_steps = [&](int from, int to, std::optional<int> resumed) {
    MetricsFile file(path_, resumed, warn());
    RunRecord record;
    file.count_repeated(record);
    for (int step = from; step < to; ++step) {
      StepMetrics metrics = of(step);
      metrics.seconds = 2.0;
      metrics.steps_repeated = record.steps_repeated;
      metrics.seconds_lost = record.seconds_lost;
      file.append(metrics);
    }
    return record;
  };
  EXPECT_EQ(write_steps(0, 8, {}).steps_repeated, 0);
  RunRecord record = write_steps(5, 7, 5);
  EXPECT_EQ(record.steps_repeated, 3);
  EXPECT_EQ(record.seconds_lost, 6.0);
  record = write_steps(5, 9, 5);
  EXPECT_EQ(record.steps_repeated, 5);
  EXPECT_EQ(record.seconds_lost, 10.0);
  record = write_steps(9, 10, 9);
  EXPECT_EQ(record.steps_repeated, 5) << "a resume that loses nothing";
  record.seconds = 30.0;
  EXPECT_DOUBLE_EQ(record.goodput(), 0.75);
}

// What it counts goes into the next checkpoint, which must be one that can be resumed.
TEST_F(Metrics, ALineOfFiguresThatCannotBeCountsForNothing) {
  std::filesystem::create_directories(folder_ + "/deep");
  const std::string odd =
      "{\"step\": 0, \"steps_repeated\": 4294967296}\n"
      "{\"step\": 1, \"steps_repeated\": 2000000000}\n"
      "{\"step\": 2, \"seconds_lost\": 1e300}\n"
      "{\"step\": 7, \"seconds_lost\": 5, \"seconds\": -1}\n";
  const std::string full = "{\"step\": 8, \"steps_repeated\": 1073741824, \"seconds\": 1e12}\n";
  write_file(path_, odd + full + full);
  RunRecord record;
  record.id = "a";
  {
    MetricsFile file(path_, 5, warn());
    file.count_repeated(record);
    file.append(of(5));
  }
  EXPECT_EQ(warnings_.size(), 4U);
  EXPECT_TRUE(read_file(path_).starts_with(odd + "{\"step\":5,"));
  EXPECT_EQ(record.steps_repeated, 1 << 30);
  EXPECT_EQ(record.seconds_lost, 1e12);
  EXPECT_NO_THROW(run_record(to_json(record), "manifest"));
}

TEST_F(Metrics, NumbersKeepTheirDigitsAndNotANumberIsNull) {
  StepMetrics metrics = of(1);
  metrics.loss = 0.1 + 0.2;
  metrics.grad_norm = std::numeric_limits<double>::quiet_NaN();
  const Json json = parse_json(metrics_json(metrics), "line");
  EXPECT_EQ(json["loss"].get<double>(), 0.1 + 0.2);
  EXPECT_TRUE(json["grad_norm"].is_null());
  EXPECT_EQ(json["peak_bytes"].size(), 2U);
  EXPECT_FALSE(json.contains("reserved_bytes"));  // of GPUs alone
  metrics.reserved_bytes = {3e9, 4e9};
  EXPECT_EQ(parse_json(metrics_json(metrics), "line")["reserved_bytes"][1], 4e9);
}

TEST_F(Metrics, AnEmptyPathWritesNothing) {
  MetricsFile file("", {}, warn());
  EXPECT_NO_THROW(file.append(of(0)));
  EXPECT_TRUE(warnings_.empty());
}

// A disk that is full for a while costs a warning and no line.
TEST_F(Metrics, LinesWaitUntilThereIsRoom) {
  {
    MetricsFile file(path_, {}, warn());
    file.append(of(0));
    {
      const FileSizeLimit limit(1500);
      for (int step = 1; step < 20; ++step) file.append(of(step));
      ASSERT_EQ(warnings_.size(), 1U);
      EXPECT_THAT(warnings_[0], HasSubstr("metrics.jsonl: cannot be written: File too large"));
    }
    file.append(of(20));
    ASSERT_EQ(warnings_.size(), 2U);
    EXPECT_THAT(warnings_[1], HasSubstr("can be written again"));
  }
  const std::vector<int> all = steps();
  ASSERT_EQ(all.size(), 21U);
  for (int step = 0; step <= 20; ++step) EXPECT_EQ(all[static_cast<std::size_t>(step)], step);
}

TEST_F(Metrics, ADiskThatStaysFullCostsBoundedMemoryAndIsCounted) {
  constexpr int kSteps = 3000;
  {
    MetricsFile file("/dev/full", {}, warn());
    for (int step = 0; step < kSteps; ++step) file.append(of(step));
  }
  ASSERT_EQ(warnings_.size(), 2U);
  EXPECT_EQ(warnings_[1], "/dev/full: 3000 lines were not written");
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
  metrics.grad_norm = -std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(step_line(metrics), HasSubstr("grad nan"));
  metrics.plan_wait_seconds = 0.5;
  metrics.peak_bytes.assign(9, 1e6);
  EXPECT_THAT(step_line(metrics), HasSubstr("SKIPPED"));
  EXPECT_THAT(step_line(metrics), HasSubstr("waited"));
  EXPECT_THAT(step_line(metrics), HasSubstr("+5"));
  EXPECT_EQ(step_line(metrics).find('\n'), std::string::npos);
  metrics.skipped_because = kNoTargets;
  EXPECT_EQ(step_line(metrics), "step   12  SKIPPED: no document of the batch has a target");
}

}  // namespace
}  // namespace infinipipe
