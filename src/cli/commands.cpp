#include "cli/command.h"

namespace infinipipe::cli {

std::vector<Command> all_commands() {
  std::vector<Command> commands = torch_commands();
  commands.push_back(launch_command());
  commands.push_back(plan_command());
  commands.push_back(validate_command());
  commands.push_back(simulate_command());
  commands.push_back(compare_command());
  commands.push_back(data_build_command());
  commands.push_back(data_stats_command());
  commands.push_back(data_lengths_command());
  return commands;
}

}  // namespace infinipipe::cli
