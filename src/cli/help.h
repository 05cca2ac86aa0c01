// Help texts.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace infinipipe::cli {

// The list of commands; `family` "data" lists that family's only.
std::string program_help(const std::vector<Command>& commands, const std::string& family = {});
std::string command_help(const Command& command, const Flags& flags);
std::string version_text();

}  // namespace infinipipe::cli
