// metrics.jsonl of the run that is resumed: what is counted can stand in a checkpoint, and a run
// that goes on and is resumed again finds the lines as it left them. Input: a digit for the step
// at which the run is resumed, then the file.
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "fuzz/scratch_file.h"
#include "infinipipe/base/json.h"
#include "trainer/metrics_file.h"

namespace infinipipe::fuzz {
namespace {

void require_one_line(const std::string& line) {
  require(line.find('\n') == std::string::npos, "a warning of more than one line");
}

// Resumes at `step` and does it. What the file's lines count is put into the new one, as by a run.
RunRecord go_on(const std::string& path, int step) {
  MetricsFile file(path, step, require_one_line);
  RunRecord record;
  file.count_repeated(record);
  record.id = "0123456789abcdef";
  require(record.seconds_lost >= 0.0 && record.steps_repeated >= 0, "less than nothing is lost");
  require(to_json(run_record(to_json(record), "again")) == to_json(record),
          "a count that no checkpoint can hold");
  StepMetrics metrics;
  metrics.step = step;
  metrics.steps_repeated = record.steps_repeated;
  metrics.seconds_lost = record.seconds_lost;
  file.append(metrics);
  return record;
}

void run(std::string_view bytes) {
  if (bytes.empty()) return;
  static const ScratchFolder scratch;
  const int step = static_cast<unsigned char>(bytes[0]) % 16;
  const std::string path = scratch.put("metrics.jsonl", bytes.substr(1));
  const RunRecord first = go_on(path, step);
  const std::string text = read_file(path);
  require(text.ends_with("}\n"), "the file does not end with the new line");
  const RunRecord second = go_on(path, step + 1);
  require(read_file(path).starts_with(text), "lines change when nothing is done again");
  require(to_json(second) == to_json(first), "a count changes when nothing is done again");
}

}  // namespace
}  // namespace infinipipe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  infinipipe::fuzz::run(infinipipe::fuzz::text(data, size));
  return 0;
}
