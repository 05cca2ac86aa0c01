#include "cli/over_ranks_torch.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>

#include "cli/stop_signals.h"
#include "dist/launch_environment.h"
#include "dist/ranks.h"
#include "infinipipe/base/error.h"
#include "runtime/remote_ranks.h"
#include "trainer/code_version.h"
#include "trainer/serve.h"

namespace infinipipe::cli {
namespace {

std::optional<std::string> variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

// From any thread, also while others stand still: nothing but the line is left to do.
[[noreturn]] void end(const std::string& line) {
  if (!line.empty()) {
    const std::string whole = line + "\n";
    [[maybe_unused]] const auto put = ::write(STDERR_FILENO, whole.data(), whole.size());
  }
  ::_exit(static_cast<int>(ErrorKind::kRun));
}

Ranks::Options options_of(const TrainConfig& config, Console& console) {
  Ranks::Options options;
  options.world.code_version = kCodeVersion;
  options.world.threads = config.runtime.threads_per_stage;
  options.world.warn = [&console](const std::string& line) { console.warn(line); };
  options.lost_after = config.runtime.lost_after_seconds;
  options.beat = std::clamp(options.lost_after / 15.0, 0.1, 1.0);
  options.stalled_after = config.runtime.stalled_after_seconds;
  options.end = end;
  options.stop_was_asked = request_stop;
  options.asked_to_stop = [] { return stop_flag().load(); };
  return options;
}

void drive(Ranks& ranks, const Launch& launch,
           const std::function<void(Ranks*, const Launch*)>& body) {
  const auto leave = [&] {
    RemoteRanks(&ranks).dismiss();
    ranks.finish();
  };
  try {
    body(&ranks, &launch);
  } catch (...) {
    leave();
    throw;
  }
  leave();
}

}  // namespace

void over_ranks(Console& console, const std::function<TrainConfig()>& given,
                const std::function<void(Ranks*, const Launch*)>& body) {
  const std::optional<Launch> launch = find_launch(variable);
  if (!launch) {
    body(nullptr, nullptr);
    return;
  }
  const bool driver = launch->rank == 0;
  if (!driver) note_stop_signals();
  // The driver says what the others shall keep to; what is wrong with its configuration is said by
  // it.
  TrainConfig config;
  if (driver) {
    try {
      config = given();
    } catch (const Error&) {
      config = {};
    }
  }
  Ranks ranks(*launch, options_of(config, console));
  if (driver) {
    drive(ranks, *launch, body);
  } else {
    serve_driver(ranks, stop_flag());
    ranks.finish();
  }
}

}  // namespace infinipipe::cli
