#include "cli/stop_signals.h"

#include <unistd.h>

#include <csignal>
#include <string_view>

namespace infinipipe::cli {
namespace {

std::atomic<bool> asked{false};
std::atomic<bool> signalled{false};
std::atomic<bool> silent{false};

void say(std::string_view text) {
  [[maybe_unused]] const auto put = ::write(STDERR_FILENO, text.data(), text.size());
}

// Only what a signal handler may do.
extern "C" void on_stop_signal(int signal) {
  asked.store(true);
  if (signalled.exchange(true)) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);  // taken when this returns
    return;
  }
  if (!silent.load()) say("\nstopping after this step; once more ends at once\n");
}

}  // namespace

const std::atomic<bool>& stop_flag() { return asked; }

void request_stop() { asked.store(true); }

void handle_stop_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
    struct sigaction before {};
    ::sigaction(signal, nullptr, &before);
    if (before.sa_handler == SIG_IGN) continue;
    struct sigaction action {};
    action.sa_handler = on_stop_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    ::sigaction(signal, &action, nullptr);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

void note_stop_signals() {
  silent.store(true);
  handle_stop_signals();
}

}  // namespace infinipipe::cli
