// metrics.jsonl: one line a step, and nothing of it is ever lost.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "infinipipe/trainer/trainer.h"
#include "trainer/run_record.h"

namespace infinipipe {

// The file is touched when the first step is done, not before. Then a fresh run's begins anew, and
// what lay there is kept as PATH.old, or PATH.old.2 and so on where those are taken; a resumed run
// goes on with the file, less the lines of the steps that it has done again. A line that cannot be
// read is named and stays where it is. An empty path writes nothing. A pipe is never waited for:
// its lines wait until somebody reads. One thread.
class MetricsFile final {
 public:
  using Warn = std::function<void(const std::string&)>;

  // `resumed_at`: the first step of a run that goes on; nothing: a fresh run.
  MetricsFile(std::string path, std::optional<int> resumed_at, Warn warn);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  // Adds to the record what the lines say of steps that will be done again.
  void count_repeated(RunRecord& record) const;

  // A disk that is full, or another failure, is warned of once; lines wait until there is room
  // again, as many as kMostPending bytes.
  void append(const StepMetrics& metrics);

  // Throws InputError naming the key where a file of that name is no metrics file: a run's data,
  // for example, must not be moved away.
  static void require_free(const std::string& path);

  static constexpr std::size_t kMostPending = std::size_t{1} << 20;

 private:
  void read_earlier(int first);
  void open();
  // Writes what waits; false, with the reason, where not all could be.
  bool flush(std::string& why);

  std::string path_;
  bool fresh_;
  Warn warn_;
  std::string kept_;      // of the resumed run's file
  bool rewrite_ = false;  // which is more than that
  RunRecord lost_;
  int fd_ = -1;
  bool failing_ = false;
  std::string pending_;
  int dropped_ = 0;  // lines
};

}  // namespace infinipipe
