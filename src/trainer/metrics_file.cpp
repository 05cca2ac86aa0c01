#include "trainer/metrics_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "infinipipe/base/error.h"
#include "infinipipe/base/json.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostBytes = std::size_t{1} << 31;
constexpr std::size_t kMostLine = std::size_t{1} << 16;  // that is looked at to know such a file

// 0 where a line does not say it.
Seconds seconds_of(const JsonView& line, const char* key) {
  return line.has(key) ? line.at(key).number(0.0, RunRecord::kMostSeconds) : 0.0;
}

}  // namespace

MetricsFile::MetricsFile(std::string path, std::optional<int> resumed_at, Warn warn)
    : path_(std::move(path)), fresh_(!resumed_at), warn_(std::move(warn)) {
  if (path_.empty()) return;
  const fs::path folder = fs::path(path_).parent_path();
  if (!folder.empty()) make_folder(folder.string());
  std::error_code error;
  if (resumed_at && fs::is_regular_file(path_, error)) read_earlier(*resumed_at);
}

MetricsFile::~MetricsFile() {
  std::string why;
  if (fd_ < 0 || !flush(why)) {
    dropped_ += static_cast<int>(std::count(pending_.begin(), pending_.end(), '\n'));
  }
  if (dropped_ > 0) warn_(path_ + ": " + std::to_string(dropped_) + " lines were not written");
  if (fd_ >= 0) ::close(fd_);
}

// Lines of steps from `first` on will be written again.
void MetricsFile::read_earlier(int first) {
  std::string old;
  try {
    old = read_file(path_, kMostBytes);
  } catch (const InputError& error) {
    warn_(std::string(error.what()) + "; a new file is begun");
    fresh_ = true;
    return;
  }
  RunRecord again;  // of the steps that will be
  int number = 0;
  for (std::size_t begin = 0; begin < old.size();) {
    const std::size_t end = std::min(old.find('\n', begin), old.size());
    const std::string line = old.substr(begin, end - begin);
    const bool whole = end < old.size();
    begin = end + 1;
    ++number;
    const std::string where = "line " + std::to_string(number) + " of " + path_;
    try {
      const Json json = parse_json(line, where);
      const JsonView entry(json, where);
      const bool repeated = entry.at("step").integer() >= first;
      // All of it is read before any of it counts: a line either counts or stays as it is.
      const auto steps = static_cast<int>(
          entry.has("steps_repeated") ? entry.at("steps_repeated").integer(0, RunRecord::kMostSteps)
                                      : 0);
      const Seconds lost = seconds_of(entry, "seconds_lost");
      const Seconds taken = seconds_of(entry, "seconds");
      lost_.steps_repeated = std::max(lost_.steps_repeated, steps);
      lost_.seconds_lost = std::max(lost_.seconds_lost, lost);
      if (repeated) {
        ++again.steps_repeated;
        again.seconds_lost += taken;
      } else {
        kept_ += line + "\n";
      }
    } catch (const InputError& error) {
      if (whole) kept_ += line + "\n";
      warn_(whole ? std::string(error.what()) + "; the line stays as it is"
                  : where + " was cut off when it was written, and is left out");
    }
  }
  // A checkpoint has to be able to hold them.
  lost_.steps_repeated =
      std::min(lost_.steps_repeated + again.steps_repeated, RunRecord::kMostSteps);
  lost_.seconds_lost = std::min(lost_.seconds_lost + again.seconds_lost, RunRecord::kMostSeconds);
  rewrite_ = kept_ != old;
}

void MetricsFile::count_repeated(RunRecord& record) const {
  record.steps_repeated = std::max(record.steps_repeated, lost_.steps_repeated);
  record.seconds_lost = std::max(record.seconds_lost, lost_.seconds_lost);
}

void MetricsFile::require_free(const std::string& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) == 0) return;
  std::ifstream file(path);
  std::string line;
  char each = 0;
  while (line.size() < kMostLine && file.get(each) && each != '\n') line += each;
  try {
    if (parse_json(line, path).contains("step")) return;
  } catch (const InputError&) {
  }
  throw InputError("config: metrics.path", "found " + path + ", which is no metrics file",
                   "expected one, or a name that is free", "choose another name");
}

// The first step is done: from now on the file is this run's.
void MetricsFile::open() {
  std::error_code error;
  if (fresh_ && fs::is_regular_file(path_, error) && fs::file_size(path_, error) > 0) {
    std::string aside = path_ + ".old";
    for (int i = 2; fs::exists(fs::symlink_status(aside, error)); ++i) {
      aside = path_ + ".old." + std::to_string(i);
    }
    fs::rename(path_, aside, error);
    if (error) throw RunError(path_, "cannot be kept as " + aside + ": " + error.message());
  }
  fresh_ = false;
  if (rewrite_) write_file(path_, kept_);
  rewrite_ = false;
  kept_ = {};
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd_ < 0) throw RunError(path_, std::string("cannot be opened: ") + std::strerror(errno));
}

bool MetricsFile::flush(std::string& why) {
  std::size_t done = 0;
  while (done < pending_.size()) {
    const ssize_t put = ::write(fd_, pending_.data() + done, pending_.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      why = std::strerror(errno);
      break;
    }
    done += static_cast<std::size_t>(put);
  }
  pending_.erase(0, done);  // a half-written line goes on where it stopped
  return pending_.empty();
}

void MetricsFile::append(const StepMetrics& metrics) {
  if (path_.empty()) return;
  std::string why;
  pending_ += metrics_json(metrics) + "\n";
  bool written = false;
  try {
    if (fd_ < 0) open();
    written = flush(why);
    if (!written) why = path_ + ": cannot be written: " + why;
  } catch (const Error& error) {
    why = error.what();
  }
  if (written) {
    if (failing_) warn_(path_ + ": can be written again");
    failing_ = false;
    return;
  }
  if (!std::exchange(failing_, true)) {
    warn_(why + "; training goes on, and lines wait until they can be written");
  }
  while (pending_.size() > kMostPending) {
    const std::size_t second = pending_.find('\n') + 1;
    pending_.erase(second, pending_.find('\n', second) + 1 - second);  // the first may be half done
    ++dropped_;
  }
}

}  // namespace infinipipe
