#include "cli/command.h"
#include "cli/training_torch.h"

namespace infinipipe::cli {

std::vector<Command> torch_commands() {
  return {train_command(),   eval_command(),   generate_command(),
          profile_command(), import_command(), export_command()};
}

}  // namespace infinipipe::cli
