#include "cli/console.h"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <iostream>

#include "base/file.h"

namespace infinipipe::cli {
namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Console::Console(Verbosity verbosity) : verbosity_(verbosity), last_progress_(steady_seconds()) {}

void Console::result(std::string_view text) const { std::cout << text << std::flush; }

void Console::warn(std::string_view line) {
  end_progress();
  std::cerr << "warning: " << line << '\n' << std::flush;
}

void Console::note(std::string_view line) {
  if (quiet()) return;
  end_progress();
  std::cerr << line << '\n' << std::flush;
}

void Console::info(std::string_view line) const {
  if (quiet() || stdout_lost_) return;
  errno = 0;
  std::cout << line << '\n' << std::flush;
  if (std::cout || !lost_) return;
  stdout_lost_ = true;
  const int why = errno;
  std::cout.clear();
  lost_(why);
}

void Console::detail(std::string_view line) const {
  if (verbose()) std::cout << line << '\n' << std::flush;
}

void Console::progress(const std::string& line) {
  if (quiet()) return;
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  const double now = steady_seconds();
  if (now - last_progress_ < (terminal ? 0.2 : 10.0)) return;
  last_progress_ = now;
  if (terminal) {
    std::cerr << "\r\x1b[K" << line << std::flush;
    open_line_ = true;
  } else {
    std::cerr << line << '\n' << std::flush;
  }
}

void Console::end_progress() {
  if (open_line_) std::cerr << "\r\x1b[K" << std::flush;
  open_line_ = false;
}

void write_output(const Console& console, const std::string& path, std::string_view text) {
  if (path == "-") {
    console.result(text);
  } else {
    write_file(path, text);
  }
}

}  // namespace infinipipe::cli
