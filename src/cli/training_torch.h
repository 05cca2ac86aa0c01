// The commands that run models.
#pragma once

#include "cli/command.h"

namespace infinipipe::cli {

Command train_command();
Command eval_command();
Command generate_command();
Command profile_command();

}  // namespace infinipipe::cli
