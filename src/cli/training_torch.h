// The commands that run models.
#pragma once

#include "cli/command.h"

namespace infinipipe::cli {

Command train_command();
Command eval_command();
Command generate_command();
Command import_command();
Command export_command();
Command profile_command();

}  // namespace infinipipe::cli
