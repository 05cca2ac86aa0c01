// metrics.jsonl: one line a step.
#pragma once

#include <cstdio>
#include <string>

#include "infinipipe/trainer/trainer.h"

namespace infinipipe {

// Replaces the file, but keeps the lines of steps before `first_step` (resume). An empty path
// writes nothing. Throws RunError where a line cannot be written. One thread.
class MetricsFile final {
 public:
  MetricsFile(const std::string& path, int first_step);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  void append(const StepMetrics& metrics);

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
};

}  // namespace infinipipe
