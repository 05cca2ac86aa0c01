#include "dist/fault_injection.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>

#include "base/launch_variables.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr const char* kVariable = "INFINIPIPE_FAULT";

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool first_start() {
  const std::string restart = environment(kRestartVariable);
  return restart.empty() || restart == "0";
}

struct Fault {
  std::optional<int> rank;
  std::optional<int> step;
  std::string at;
  std::string kind;
};

[[noreturn]] void refuse(std::string_view part) {
  throw InputError(kVariable, "found '" + std::string(part) + "'",
                   "expected rank=N,step=N,at=PLACE,kind=kill|stop|exit|exception");
}

int number(std::string_view part, std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) refuse(part);
  return value;
}

Fault read_fault() {
  const std::string text = environment(kVariable);
  Fault fault;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    const std::string_view name = part.substr(0, part.find('='));
    const std::string_view value = part.substr(std::min(part.size(), name.size() + 1));
    if (name == "rank") {
      fault.rank = number(part, value);
    } else if (name == "step") {
      fault.step = number(part, value);
    } else if (name == "at") {
      fault.at = value;
    } else if (name == "kind") {
      fault.kind = value;
    } else {
      refuse(part);
    }
  }
  return fault;
}

}  // namespace

const bool kFaultWanted = !environment(kVariable).empty() && first_start();

void fail_as_wanted(int rank, int step, std::string_view place) {
  static const Fault fault = read_fault();
  static std::atomic<bool> struck{false};
  if (fault.rank.value_or(rank) != rank || fault.step.value_or(step) > step ||
      !place.starts_with(fault.at) || struck.exchange(true)) {
    return;
  }
  // In one piece, so that it arrives before whatever follows.
  const std::string line = "fault: rank " + std::to_string(rank) + ", step " +
                           std::to_string(step) + ", " + std::string(place) + ": " + fault.kind +
                           "\n";
  [[maybe_unused]] const auto put = ::write(STDERR_FILENO, line.data(), line.size());
  if (fault.kind == "kill") {
    ::kill(::getpid(), SIGKILL);
  } else if (fault.kind == "stop") {
    ::kill(::getpid(), SIGSTOP);
  } else if (fault.kind == "exit") {
    ::_exit(3);
  } else if (fault.kind == "exception") {
    throw RunError(place, "a fault that was asked for");
  } else {
    refuse("kind=" + fault.kind);
  }
}

}  // namespace infinipipe
