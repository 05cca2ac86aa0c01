#include <exception>
#include <iostream>
#include <new>

#include "base/progress.h"
#include "cli/command_line.h"
#include "cli/out_of_memory.h"
#include "infinipipe/base/error.h"

namespace {

int run(const std::vector<std::string>& arguments) {
  using namespace infinipipe;
  const cli::CommandLine line = cli::parse_command_line(arguments, cli::all_commands());
  cli::Console console(line.verbosity);
  if (line.run) {
    line.run(console);
  } else {
    console.result(line.text);
  }
  if (!std::cout.flush()) throw RunError("stdout", "could not write", {}, "is the disk full?");
  report_end(console.exit_code());
  return console.exit_code();
}

}  // namespace

// 0: done, or what the command set; 1: the run failed; 2: wrong use or bad input. An error is one
// line on stderr.
int main(int argc, char** argv) {
  infinipipe::cli::prepare_for_lack_of_memory();
  try {
    return run({argv + 1, argv + argc});
  } catch (const infinipipe::Error& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return error.exit_code();
  } catch (const std::bad_alloc&) {
    infinipipe::cli::say_out_of_memory();
  } catch (const std::exception& error) {
    std::string text = error.what();
    for (char& c : text) c = c == '\n' ? ' ' : c;
    std::cerr << "error: " << text << std::endl;
  }
  return static_cast<int>(infinipipe::ErrorKind::kRun);
}
