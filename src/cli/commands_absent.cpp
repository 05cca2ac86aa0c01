// Stands in for the commands that need LibTorch in a build without it.
#include "cli/command.h"
#include "infinipipe/base/error.h"

namespace infinipipe::cli {

std::vector<Command> torch_commands() {
  std::vector<Command> commands;
  const std::pair<const char*, const char*> absent[] = {
      {"train", "train a model"},
      {"eval", "loss and perplexity of a checkpoint"},
      {"generate", "text from a checkpoint"},
      {"import", "a Hugging Face folder to a checkpoint"},
      {"export", "a checkpoint to a folder that transformers opens"},
      {"profile", "measure this machine: the profile that plans are made for"},
  };
  for (const auto& [name, summary] : absent) {
    commands.push_back({name, "Not in this build (no LibTorch)", summary,
                        [name = std::string(name)](Flags& flags) {
                          flags.ignore_rest();  // the real command's flags
                          return [name](Console&) {
                            throw InputError(name, "this build has no LibTorch",
                                             "expected a build with -DINFINIPIPE_TORCH=ON",
                                             "run make build");
                          };
                        },
                        true});
  }
  return commands;
}

}  // namespace infinipipe::cli
