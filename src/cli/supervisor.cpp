#include "cli/supervisor.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <ranges>
#include <string_view>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe::cli {
namespace {

using Clock = RankOutput::Clock;

constexpr Clock::time_point kNever = RankOutput::kNever;
constexpr int kStopSignals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
constexpr Seconds kTermGrace = 5.0;  // between SIGTERM and SIGKILL
constexpr int kInputCode = static_cast<int>(ErrorKind::kInput);
constexpr int kRunCode = static_cast<int>(ErrorKind::kRun);

Clock::duration duration(Seconds seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// Signals as something to read, as long as it lives. SIGPIPE is among them so that writing to a
// reader that has gone is an error and no end.
class Signals final {
 public:
  Signals() {
    sigset_t taken;
    ::sigemptyset(&taken);
    ::sigaddset(&taken, SIGCHLD);
    ::sigaddset(&taken, SIGPIPE);
    for (const int signal : kStopSignals) {
      struct sigaction action {};
      ::sigaction(signal, nullptr, &action);
      if (action.sa_handler != SIG_IGN) ::sigaddset(&taken, signal);
    }
    ::sigprocmask(SIG_BLOCK, &taken, &before_);
    fd_.reset(::signalfd(-1, &taken, SFD_NONBLOCK | SFD_CLOEXEC));
  }
  ~Signals() {
    while (next()) {
    }
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int fd() const { return fd_.get(); }
  const sigset_t& before() const { return before_; }
  std::optional<int> next() {
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  sigset_t before_{};
  Descriptor fd_;
};

std::string random_id() {
  std::array<unsigned char, 8> bytes{};
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw RunError("launch", std::string("no random number: ") + std::strerror(errno));
  }
  std::string text;
  for (const unsigned char byte : bytes) {
    for (const int digit : {byte >> 4, byte & 15}) text += "0123456789abcdef"[digit];
  }
  return text;
}

std::string signal_text(int signal) {
  const char* const name = ::sigabbrev_np(signal);
  return "signal " + std::to_string(signal) +
         (name == nullptr ? "" : " (SIG" + std::string(name) + ")");
}

std::string counted(int number, const std::string& what) {
  return std::to_string(number) + " " + what + (number == 1 ? "" : "s");
}

class Supervisor final {
 public:
  explicit Supervisor(const LaunchOptions& launch) : launch_(launch), run_id_(random_id()) {}

  int run() {
    for (int restart = 0;; ++restart) {
      const int steps_before = steps_;
      const int code = run_once(restart);
      take_signals();
      const bool again = code == kRunCode && may_restart(restart, steps_before);
      if (again) {
        output_.say("launch: restart " + std::to_string(restart + 1) + " of " +
                    std::to_string(launch_.max_restarts) + ", " + counted(steps_, "step") +
                    " done before");
        continue;
      }
      while (!output_.empty() && stops_ < 2) wait(kNever);
      return code;
    }
  }

 private:
  struct Rank {
    RankProcess process;
    bool killed_by_us = false;
  };

  // One start of all ranks, until none is left. Returns the exit code.
  int run_once(int restart) {
    ranks_.clear();
    first_end_ = kNever;
    termed_ = kNever;
    said_end_.reset();
    start(restart);
    while (std::any_of(ranks_.begin(), ranks_.end(),
                       [](const Rank& rank) { return rank.process.alive(); })) {
      wait(deadline());
      take_signals();
      for (int rank = 0; rank < std::ssize(ranks_); ++rank) {
        if (at(rank).process.reap()) ended(rank);
      }
      end_the_late();
    }
    take_progress();
    return exit_code();
  }

  void start(int restart) {
    ListeningSocket store = listen_on_loopback();
    std::array<int, 2> progress{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, progress.data()) != 0) {
      throw RunError("launch", std::string("no socket: ") + std::strerror(errno));
    }
    progress_.reset(progress[0]);
    ::fcntl(progress[0], F_SETFL, O_NONBLOCK);
    progress_line_.clear();
    const Descriptor progress_end(progress[1]);
    for (int rank = 0; rank < launch_.ranks; ++rank) {
      const std::array<int, 2> ends = output_.open(rank);
      const Descriptor out(ends[0]);
      const Descriptor err(ends[1] == ends[0] ? -1 : ends[1]);
      const RankIdentity identity = {.rank = rank,
                                     .ranks = launch_.ranks,
                                     .port = store.port,
                                     .run_id = run_id_,
                                     .restart = restart,
                                     .store_fd = rank == 0 ? store.socket.get() : -1,
                                     .progress_fd = rank == 0 ? progress_end.get() : -1};
      ranks_.push_back({RankProcess(launch_.program, identity, ends, signals_.before())});
      // Held by rank 0 alone: connections to it must fail when it is gone.
      if (rank == 0) store.socket.reset();
    }
  }

  void wait(Clock::time_point until) {
    until = std::min(until, output_.deadline());
    int milliseconds = -1;
    if (until != kNever) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
      milliseconds = static_cast<int>(
          std::clamp<std::chrono::milliseconds::rep>(left.count(), 0, 3600 * 1000));
    }
    std::vector<pollfd> polls = {{signals_.fd(), POLLIN, 0}, {progress_.get(), POLLIN, 0}};
    output_.wait_for(polls);
    if (::poll(polls.data(), polls.size(), milliseconds) < 0) return;
    if (polls[1].revents != 0) take_progress();
    output_.handle(std::span(polls).subspan(2));
  }

  void take_signals() {
    while (const std::optional<int> signal = signals_.next()) {
      if (*signal == SIGCHLD || *signal == SIGPIPE) continue;
      ++stops_;
      for (Rank& rank : ranks_) {
        if (stops_ == 1) rank.process.signal(SIGTERM);
        if (stops_ == 2) kill(rank);
      }
    }
  }

  // Lines from rank 0: of numbers, of which the largest ever counts, and of how it ends.
  void take_progress() {
    std::array<char, 4096> bytes{};
    while (progress_.get() >= 0) {
      const ssize_t got = ::read(progress_.get(), bytes.data(), bytes.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) {
        progress_.reset();
        return;
      }
      progress_line_.append(bytes.data(), static_cast<std::size_t>(got));
      for (std::size_t end = 0; (end = progress_line_.find('\n')) != std::string::npos;) {
        constexpr std::string_view kEnd = "end ";
        const bool ends = progress_line_.starts_with(kEnd);
        int number = 0;
        std::from_chars(progress_line_.data() + (ends ? kEnd.size() : 0),
                        progress_line_.data() + end, number);
        if (ends) {
          said_end_ = number;
        } else {
          steps_ = std::max(steps_, number);
        }
        progress_line_.erase(0, end + 1);
      }
    }
  }

  void ended(int rank) {
    output_.close(rank);
    if (rank == 0) take_progress();
    const Ending& ending = at(rank).process.ending();
    const std::string name = "launch: rank " + std::to_string(rank);
    if (ending.by_signal) {
      const bool asked = ending.number == SIGTERM && (stops_ > 0 || termed_ != kNever);
      if (!at(rank).killed_by_us && !asked) {
        output_.say(name + " was killed by " + signal_text(ending.number));
      }
    } else if (failed(rank) && ending.number != kRunCode && ending.number != kInputCode) {
      output_.say(name + " ended with exit code " + std::to_string(ending.number));
    }
    if ((rank == 0 || failed(rank)) && first_end_ == kNever) {
      first_end_ = Clock::now();
    }
  }

  // Whether a rank that has ended did so badly. Rank 0 may return a code of the command's own, if
  // it has said so: a library that ends the process in the middle of a run says nothing.
  bool failed(int rank) {
    const Ending& ending = at(rank).process.ending();
    if (ending.by_signal || at(rank).killed_by_us) return true;
    if (ending.number == 0) return false;
    return rank != 0 || ending.number == kRunCode || ending.number == kInputCode ||
           ending.number != said_end_;
  }

  Clock::time_point deadline() const {
    if (termed_ != kNever) return termed_ + duration(std::min(launch_.grace, kTermGrace));
    if (first_end_ != kNever) return first_end_ + duration(launch_.grace);
    return kNever;
  }

  void end_the_late() {
    if (Clock::now() < deadline()) return;
    if (termed_ == kNever) {
      // Rank 0 last, since the others miss it at once: they shall know then that they were asked.
      for (Rank& rank : std::views::reverse(ranks_)) rank.process.signal(SIGTERM);
      termed_ = Clock::now();
      return;
    }
    for (int rank = 0; rank < std::ssize(ranks_); ++rank) {
      if (!at(rank).process.alive() || at(rank).killed_by_us) continue;
      output_.say("launch: rank " + std::to_string(rank) + " did not end and was killed");
      kill(at(rank));
    }
  }

  static void kill(Rank& rank) {
    if (!rank.process.alive()) return;
    rank.killed_by_us = true;
    rank.process.kill();
  }

  int exit_code() {
    bool good = true;
    for (int rank = 0; rank < std::ssize(ranks_); ++rank) {
      const Ending& ending = at(rank).process.ending();
      if (!ending.by_signal && ending.number == kInputCode) return kInputCode;
      good &= !failed(rank);
    }
    return good ? at(0).process.ending().number : kRunCode;
  }

  bool may_restart(int restart, int steps_before) {
    if (restart >= launch_.max_restarts || stops_ > 0 || !failed(0)) return false;
    if (restart == 0 || steps_ > steps_before) return true;
    output_.say("launch: no restart, since the last one finished no new step");
    return false;
  }

  Rank& at(int rank) { return ranks_[static_cast<std::size_t>(rank)]; }

  const LaunchOptions& launch_;
  std::string run_id_;
  Signals signals_;
  RankOutput output_;
  std::vector<Rank> ranks_;
  Descriptor progress_;
  std::string progress_line_;
  int steps_ = 0;                // finished so far, in any start
  std::optional<int> said_end_;  // by rank 0, in this start
  int stops_ = 0;                // signals that asked us to end
  Clock::time_point first_end_ = kNever;
  Clock::time_point termed_ = kNever;
};

}  // namespace

int supervise(const LaunchOptions& launch) { return Supervisor(launch).run(); }

}  // namespace infinipipe::cli
