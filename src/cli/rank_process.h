// One rank of `infinipipe launch` as a process of its own.
#pragma once

#include <sys/types.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/rank_output.h"

namespace infinipipe::cli {

// A descriptor that is closed with it.
class Descriptor final {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  int get() const { return fd_; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset(int fd = -1);

 private:
  int fd_;
};

// A listening socket on the loopback interface, on a port that nobody else has.
struct ListeningSocket {
  Descriptor socket;  // closed on exec
  std::uint16_t port = 0;
};
ListeningSocket listen_on_loopback();  // throws RunError

// Who a rank is, as its environment says it (docs/launchers.md).
struct RankIdentity {
  int rank = 0;
  int ranks = 1;
  std::uint16_t port = 0;
  std::string run_id;
  int restart = 0;       // how often the run was started before
  int store_fd = -1;     // rank 0's: the listening socket
  int progress_fd = -1;  // rank 0's: report_progress() writes there
};

// `ours` ("NAME=value" each) without what names a rank of another launcher, with this identity.
std::vector<std::string> rank_environment(const std::vector<std::string>& ours,
                                          const RankIdentity& identity);

// How a rank ended.
struct Ending {
  bool by_signal = false;
  int number = 0;  // the signal, or the exit code
};

struct Program {
  std::string file;                    // to execute
  std::vector<std::string> arguments;  // argv, its name included
};

// A child in a process group of its own, which the system kills when this thread ends (so start it
// on the main thread). Whatever it leaves in its group is killed when it has ended. Rank 0 keeps
// stdin unless that is a terminal, which a group in the background may not read; the others read
// nothing.
class RankProcess final {
 public:
  // `out_err`: its stdout and stderr, -1 for ours; `signals`: its mask of signals. Throws RunError
  // where no process can be made; a program that cannot be executed ends with a line on stderr and
  // exit code 2.
  RankProcess(const Program& program, const RankIdentity& identity, std::array<int, 2> out_err,
              const sigset_t& signals);
  ~RankProcess();  // kills what is still there
  RankProcess(RankProcess&& other) noexcept : pid_(other.pid_), ending_(other.ending_) {
    other.pid_ = -1;
  }
  RankProcess& operator=(RankProcess&&) = delete;

  bool alive() const { return pid_ > 0; }
  const Ending& ending() const { return ending_; }  // once it is not alive
  // Whether it has ended since it was last asked.
  bool reap();
  void signal(int number) const;  // the rank alone
  void kill() const;              // with all of its group

 private:
  pid_t pid_ = -1;
  Ending ending_;
};

}  // namespace infinipipe::cli
