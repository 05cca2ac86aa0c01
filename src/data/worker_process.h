// A process of our own that answers over pipes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace infinipipe {

// Runs until the object goes: then its stdin ends, and it is waited for. Nothing of ours is open in
// it but the two pipes. Not thread-safe.
class WorkerProcess final {
 public:
  // Throws RunError where the program cannot be started.
  explicit WorkerProcess(const std::vector<std::string>& command);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // What is read from now on must have come by then; without one it may take any time.
  void set_deadline(std::optional<std::chrono::steady_clock::time_point> deadline) {
    deadline_ = deadline;
  }
  bool missed_deadline() const { return missed_deadline_; }

  // Both throw RunError where the process has ended, with the last line that it wrote to stderr;
  // and the second where the deadline passes: then the process is killed.
  void write(std::span<const std::byte> bytes);
  void read(std::span<std::byte> bytes);

 private:
  [[noreturn]] void fail();
  void await_answer();

  std::string program_;
  pid_t pid_ = -1;
  int input_ = -1;   // its stdin
  int output_ = -1;  // its stdout
  int errors_ = -1;  // a file in memory: its stderr
  std::optional<std::chrono::steady_clock::time_point> deadline_;
  bool missed_deadline_ = false;
};

}  // namespace infinipipe
