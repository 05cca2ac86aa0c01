// What a command may say to people, and where its results go.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace infinipipe::cli {

enum class Verbosity { kQuiet, kNormal, kVerbose };

// Results and messages go to stdout, progress to stderr. Not thread-safe.
class Console final {
 public:
  explicit Console(Verbosity verbosity);

  // What the command was asked for; printed as it is, also when quiet.
  void result(std::string_view text) const;
  // One line that must be heard, also when quiet; to stderr.
  void warn(std::string_view line);
  // One line for people beside the result, so to stderr; not when quiet.
  void note(std::string_view line);
  // One line for people; not when quiet.
  void info(std::string_view line) const;
  // One line more for people who asked for more.
  void detail(std::string_view line) const;
  // Replaces the progress line of a terminal; elsewhere a line at most every ten seconds.
  void progress(const std::string& line);
  // Ends the progress line.
  void end_progress();

  // From now on a line that stdout does not take is no failure of the command: `lost` is called
  // with the system's reason, once.
  void outlive_stdout(std::function<void(int)> lost) { lost_ = std::move(lost); }

  // What the program is to end with where nothing fails; 0 unless a command says otherwise.
  void set_exit_code(int code) { exit_code_ = code; }
  int exit_code() const { return exit_code_; }

  bool quiet() const { return verbosity_ == Verbosity::kQuiet; }
  bool verbose() const { return verbosity_ == Verbosity::kVerbose; }

 private:
  Verbosity verbosity_;
  int exit_code_ = 0;
  std::function<void(int)> lost_;
  mutable bool stdout_lost_ = false;
  double last_progress_;  // seconds of the steady clock; a short command shows none
  bool open_line_ = false;
};

// `path` "-" is the console's result, anything else a file, written in one step.
void write_output(const Console& console, const std::string& path, std::string_view text);

}  // namespace infinipipe::cli
