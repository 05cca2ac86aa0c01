#include "cli/rank_process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include "base/launch_variables.h"
#include "base/loopback.h"
#include "base/progress.h"
#include "infinipipe/base/error.h"

extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace infinipipe::cli {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw RunError("launch", what + ": " + std::strerror(errno));
}

// Names by which other launchers and our own tell a rank who it is.
constexpr std::string_view kOfLaunchers[] = {"SLURM_", "OMPI_",         "PMI_",
                                             "PMIX_",  "TORCHELASTIC_", "MPI_LOCAL"};
constexpr std::string_view kOfRanks[] = {
    "RANK",         "WORLD_SIZE",       "LOCAL_RANK",   "LOCAL_WORLD_SIZE",
    "GROUP_RANK",   "GROUP_WORLD_SIZE", "ROLE_RANK",    "ROLE_WORLD_SIZE",
    "ROLE_NAME",    "MASTER_ADDR",      "MASTER_PORT",  kLaunchVariable,
    kRunIdVariable, kRestartVariable,   kStoreVariable, kProgressVariable};

bool names_a_rank(std::string_view variable) {
  const std::string_view name = variable.substr(0, variable.find('='));
  return std::any_of(std::begin(kOfLaunchers), std::end(kOfLaunchers),
                     [&](std::string_view prefix) { return name.starts_with(prefix); }) ||
         std::find(std::begin(kOfRanks), std::end(kOfRanks), name) != std::end(kOfRanks);
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (const std::string& text : texts) {
    all.push_back(const_cast<char*>(text.c_str()));  // NOLINT: execve's type
  }
  all.push_back(nullptr);
  return all;
}

void keep_on_exec(int fd) {
  if (fd >= 0) ::fcntl(fd, F_SETFD, 0);
}

// What the child does between fork and exec: only what a signal handler may.
struct Child {
  const char* file;
  char* const* arguments;
  char* const* environment;
  int in;  // -1: ours
  std::array<int, 2> out_err;
  int store;
  int progress;
  pid_t parent;
  const sigset_t* signals;

  [[noreturn]] void run() const {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);  // it went before that was set
    ::setpgid(0, 0);
    if (in >= 0) ::dup2(in, STDIN_FILENO);
    if (out_err[0] >= 0) ::dup2(out_err[0], STDOUT_FILENO);
    if (out_err[1] >= 0) ::dup2(out_err[1], STDERR_FILENO);
    keep_on_exec(store);
    keep_on_exec(progress);
    std::signal(SIGTTOU, SIG_IGN);  // a group in the background may write to the terminal
    ::sigprocmask(SIG_SETMASK, signals, nullptr);
    ::execve(file, arguments, environment);
    const char* const why = ::strerrordesc_np(errno);
    for (const char* const part : {"error: launch: ", file, " cannot be started: ", why, "\n"}) {
      [[maybe_unused]] const auto put = ::write(STDERR_FILENO, part, std::strlen(part));
    }
    ::_exit(static_cast<int>(ErrorKind::kInput));
  }
};

}  // namespace

void Descriptor::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

ListeningSocket listen_on_loopback() {
  ListeningSocket made;
  made.socket.reset(listen_at_loopback(0));
  sockaddr_in address{};
  auto* const any = reinterpret_cast<sockaddr*>(&address);  // NOLINT: the interface's way
  socklen_t size = sizeof address;
  if (made.socket.get() < 0 || ::getsockname(made.socket.get(), any, &size) != 0) {
    fail("no port on the loopback interface");
  }
  made.port = ntohs(address.sin_port);
  return made;
}

std::vector<std::string> rank_environment(const std::vector<std::string>& ours,
                                          const RankIdentity& identity) {
  std::vector<std::string> all;
  std::copy_if(ours.begin(), ours.end(), std::back_inserter(all),
               [](const std::string& variable) { return !names_a_rank(variable); });
  const auto set = [&all](const std::string& name, const std::string& value) {
    all.push_back(name + "=" + value);
  };
  const std::string rank = std::to_string(identity.rank);
  const std::string ranks = std::to_string(identity.ranks);
  set("RANK", rank);
  set("WORLD_SIZE", ranks);
  set("LOCAL_RANK", rank);
  set("LOCAL_WORLD_SIZE", ranks);
  set("MASTER_ADDR", "127.0.0.1");
  set("MASTER_PORT", std::to_string(identity.port));
  set(kLaunchVariable, "1");
  set(kRunIdVariable, identity.run_id);
  set(kRestartVariable, std::to_string(identity.restart));
  if (identity.store_fd >= 0) set(kStoreVariable, std::to_string(identity.store_fd));
  if (identity.progress_fd >= 0) set(kProgressVariable, std::to_string(identity.progress_fd));
  return all;
}

RankProcess::RankProcess(const Program& program, const RankIdentity& identity,
                         std::array<int, 2> out_err, const sigset_t& signals) {
  std::vector<std::string> ours;
  for (char** variable = environ; *variable != nullptr; ++variable) ours.emplace_back(*variable);
  const std::vector<std::string> environment = rank_environment(ours, identity);
  const std::vector<char*> arguments = pointers(program.arguments);
  const std::vector<char*> variables = pointers(environment);
  Descriptor nothing;
  if (identity.rank != 0 || ::isatty(STDIN_FILENO) == 1) {
    nothing.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
  const Child child = {program.file.c_str(), arguments.data(), variables.data(),
                       nothing.get(),        out_err,          identity.store_fd,
                       identity.progress_fd, ::getpid(),       &signals};
  pid_ = ::fork();
  if (pid_ == 0) child.run();
  if (pid_ < 0) fail("rank " + std::to_string(identity.rank) + " cannot be started");
  ::setpgid(pid_, pid_);  // whoever is first
}

RankProcess::~RankProcess() {
  if (!alive()) return;
  kill();
  ::waitpid(pid_, nullptr, 0);
}

bool RankProcess::reap() {
  if (!alive()) return false;
  siginfo_t info{};
  // It stays a zombie until its group was killed: until then nobody else gets its number.
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      info.si_pid != pid_) {
    return false;
  }
  kill();
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
  ending_ = {info.si_code != CLD_EXITED, info.si_status};
  return true;
}

void RankProcess::signal(int number) const {
  if (alive()) ::kill(pid_, number);
}

void RankProcess::kill() const {
  if (alive()) ::kill(-pid_, SIGKILL);
}

}  // namespace infinipipe::cli
