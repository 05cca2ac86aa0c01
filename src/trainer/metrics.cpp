#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "infinipipe/base/error.h"
#include "infinipipe/base/file.h"
#include "infinipipe/base/json.h"
#include "infinipipe/trainer/trainer.h"
#include "trainer/metrics_file.h"

namespace infinipipe {

std::string metrics_json(const StepMetrics& m) {
  nlohmann::ordered_json line = {
      {"step", m.step},
      {"loss", m.loss},
      {"grad_norm", m.grad_norm},
      {"lr", m.lr},
      {"tokens", m.tokens},
      {"sequences", m.sequences},
      {"seconds", m.seconds},
      {"tokens_per_second", m.tokens_per_second},
      {"flops_per_second", m.flops_per_second},
      {"mfu", m.mfu},
      {"bubble_predicted", m.bubble_predicted},
      {"bubble_measured", m.bubble_measured},
      {"seconds_predicted", m.seconds_predicted},
      {"peak_bytes", m.peak_bytes},
      {"peak_bytes_predicted", m.peak_bytes_predicted},
      {"plan_seconds", m.plan_seconds},
      {"plan_wait_seconds", m.plan_wait_seconds},
      {"plan_cpu_seconds", m.plan_cpu_seconds},
      {"planner", m.planner},
      {"slices", m.slices},
      {"pipelines", m.pipelines},
      {"chunks", m.chunks},
      {"recomputed_layers", m.recomputed_layers},
      {"skipped", m.skipped},
      {"truncated_sequences", m.truncated_sequences},
      {"truncated_tokens", m.truncated_tokens},
      {"plan_hash", m.plan_hash},
  };
  for (const KeepLevel& level : kKeepLevels) {
    if (level.plan_field == nullptr) continue;
    line[std::string(level.plan_field) + "_layers"] = m.recomputed_by_level[index_of(level.keep)];
  }
  return line.dump();
}

MetricsFile::MetricsFile(const std::string& path, int first_step) : path_(path) {
  if (path.empty()) return;
  const auto folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) make_folder(folder.string());
  std::string kept;
  if (first_step > 0 && std::filesystem::is_regular_file(path)) {
    const std::string old = read_file(path);
    std::size_t begin = 0;
    while (true) {
      const std::size_t end = old.find('\n', begin);
      if (end == std::string::npos) break;  // a line without its end was cut off: drop it
      const std::string line = old.substr(begin, end - begin);
      const Json json = parse_json(line, path);
      if (JsonView(json, path).at("step").integer() >= first_step) break;
      kept += line + "\n";
      begin = end + 1;
    }
  }
  write_file(path, kept);
  file_ = std::fopen(path.c_str(), "ab");
  if (file_ == nullptr) throw RunError(path, "cannot be opened for appending");
}

MetricsFile::~MetricsFile() {
  if (file_ != nullptr) std::fclose(file_);
}

void MetricsFile::append(const StepMetrics& metrics) {
  if (file_ == nullptr) return;
  const std::string line = metrics_json(metrics) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0) {
    const std::string why = std::strerror(errno);
    throw RunError(path_, "cannot be written: " + why, "", "check the disk");
  }
}

}  // namespace infinipipe
