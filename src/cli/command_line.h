// From argv to a command that is ready to run.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace infinipipe::cli {

struct CommandLine {
  std::string text;  // help or version: print it, there is nothing to run
  Verbosity verbosity = Verbosity::kNormal;
  Run run;
};

// `arguments` without the program's name. Throws InputError("command line", ...) for what it does
// not understand, naming the nearest command or flag.
CommandLine parse_command_line(const std::vector<std::string>& arguments,
                               const std::vector<Command>& commands);

}  // namespace infinipipe::cli
