// What a command may say to people, and where its results go.
#pragma once

#include <string>
#include <string_view>

namespace infinipipe::cli {

enum class Verbosity { kQuiet, kNormal, kVerbose };

// Results and messages go to stdout, progress to stderr. Not thread-safe.
class Console final {
 public:
  explicit Console(Verbosity verbosity);

  // What the command was asked for; printed as it is, also when quiet.
  void result(std::string_view text) const;
  // One line for people; not when quiet.
  void info(std::string_view line) const;
  // One line more for people who asked for more.
  void detail(std::string_view line) const;
  // Replaces the progress line of a terminal; elsewhere a line at most every ten seconds.
  void progress(const std::string& line);
  // Ends the progress line.
  void end_progress();

  bool quiet() const { return verbosity_ == Verbosity::kQuiet; }
  bool verbose() const { return verbosity_ == Verbosity::kVerbose; }

 private:
  Verbosity verbosity_;
  double last_progress_;  // seconds of the steady clock; a short command shows none
  bool open_line_ = false;
};

// `path` "-" is the console's result, anything else a file, written in one step.
void write_output(const Console& console, const std::string& path, std::string_view text);

}  // namespace infinipipe::cli
