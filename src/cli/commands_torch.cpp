#include "cli/command.h"
#include "cli/training_torch.h"

namespace infinipipe::cli {

std::vector<Command> torch_commands() {
  std::vector<Command> commands = {train_command(), eval_command(), generate_command(),
                                   profile_command()};
  for (Command& command : commands) command.by_ranks = true;
  commands.push_back(import_command());
  commands.push_back(export_command());
  return commands;
}

}  // namespace infinipipe::cli
