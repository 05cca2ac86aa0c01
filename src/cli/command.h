// The commands of the program. A command is one file that defines one of the functions below, and
// one line in commands.cpp (or in commands_torch.cpp and commands_absent.cpp).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/console.h"
#include "cli/flags.h"

namespace infinipipe::cli {

// Does the command's work. Fails by throwing infinipipe::Error.
using Run = std::function<void(Console&)>;

struct Command {
  std::string name;     // "plan"; "data build" is `build` of the family `data`
  std::string section;  // heading in the list of commands
  std::string summary;  // one line
  // Declares the flags and returns what runs after parsing; flag targets live in the returned
  // function (a shared_ptr to the command's own options).
  std::function<Run(Flags&)> setup;
  bool by_ranks = false;  // several processes can share its work: `launch` starts it
};

// All commands of this build, in the order of the help.
std::vector<Command> all_commands();

Command launch_command();
Command plan_command();
Command validate_command();
Command simulate_command();
Command compare_command();
Command data_build_command();
Command data_stats_command();
Command data_lengths_command();

// Those that need LibTorch; without it each says so.
std::vector<Command> torch_commands();

}  // namespace infinipipe::cli
