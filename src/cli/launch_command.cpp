#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/command_line.h"
#include "cli/supervisor.h"
#include "infinipipe/base/error.h"

namespace infinipipe::cli {
namespace {

struct Options {
  std::int64_t ranks = 0;
  std::int64_t max_restarts = 0;
  double grace = LaunchOptions{}.grace;
  std::vector<std::string> command;
};

void run(const Options& options, Console& console) {
  if (options.command.empty()) {
    throw InputError("launch", "found no command", "expected one after --",
                     "infinipipe launch -n 2 -- train --config FILE");
  }
  std::vector<Command> commands;
  for (Command& command : all_commands()) {
    if (command.by_ranks) commands.push_back(std::move(command));
  }
  // A mistake is said once, here, and not by every rank.
  const CommandLine line = parse_command_line(options.command, commands);
  if (!line.run) {
    console.result(line.text);
    return;
  }
  LaunchOptions launch;
  launch.program.file = "/proc/self/exe";
  launch.program.arguments = options.command;
  launch.program.arguments.insert(launch.program.arguments.begin(), "infinipipe");
  launch.ranks = static_cast<int>(options.ranks);
  launch.max_restarts = static_cast<int>(options.max_restarts);
  launch.grace = options.grace;
  console.set_exit_code(supervise(launch));
}

}  // namespace

Command launch_command() {
  return {"launch", "Training", "run a command as several processes on this machine",
          [](Flags& flags) -> Run {
            auto options = std::make_shared<Options>();
            flags
                .integer("-n,--ranks", "N", options->ranks, 1,
                         "how many processes: stages x shards x replicas of the command's layout",
                         1024)
                .required = true;
            flags.integer("--max-restarts", "N", options->max_restarts, 0,
                          "how often a run that failed is started again, from its latest "
                          "checkpoint (0)",
                          1000000);
            flags.number("--grace", "SECONDS", options->grace, 0.0, 1e6,
                         "after the failure of one process, how long the others may take to end "
                         "by themselves (10)");
            flags.rest("COMMAND ...", options->command);
            return [options](Console& console) { run(*options, console); };
          }};
}

}  // namespace infinipipe::cli
