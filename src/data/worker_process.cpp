#include "data/worker_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>

#include "infinipipe/base/error.h"

extern char** environ;  // NOLINT(readability-redundant-declaration)

namespace infinipipe {
namespace {

void close_if_open(int& descriptor) {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

// A descriptor that the child gets as `as`. Never `as` itself, which would stay closed on exec.
class FileActions final {
 public:
  FileActions() { ::posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  void give(int descriptor, int as) {
    ::posix_spawn_file_actions_adddup2(&actions_, descriptor, as);
  }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

}  // namespace

WorkerProcess::WorkerProcess(const std::vector<std::string>& command) : program_(command.front()) {
  std::array<int, 2> in = {-1, -1};
  std::array<int, 2> out = {-1, -1};
  errors_ = ::memfd_create("worker", MFD_CLOEXEC);
  if (errors_ < 0 || ::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) {
    const std::string why = std::strerror(errno);
    for (int* each : {&in[0], &in[1], &out[0], &out[1], &errors_}) close_if_open(*each);
    throw RunError(program_, "cannot be started: " + why);
  }
  FileActions actions;
  actions.give(in[0], 0);
  actions.give(out[1], 1);
  actions.give(errors_, 2);
  std::vector<char*> arguments;
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));  // NOLINT: posix_spawn's type
  }
  arguments.push_back(nullptr);
  const int error =
      ::posix_spawnp(&pid_, program_.c_str(), actions.get(), nullptr, arguments.data(), environ);
  ::close(in[0]);
  ::close(out[1]);
  input_ = in[1];
  output_ = out[0];
  if (error == 0) return;
  pid_ = -1;
  for (int* each : {&input_, &output_, &errors_}) close_if_open(*each);
  throw RunError(program_, std::string("cannot be started: ") + std::strerror(error));
}

WorkerProcess::~WorkerProcess() {
  for (int* each : {&input_, &output_, &errors_}) close_if_open(*each);
  if (pid_ > 0) {
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

void WorkerProcess::fail() {
  std::string text(4096, '\0');
  const off_t size = ::lseek(errors_, 0, SEEK_END);
  const off_t begin = size > 4096 ? size - 4096 : 0;
  const ssize_t got = ::pread(errors_, text.data(), text.size(), begin);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const std::size_t line = text.rfind('\n');
  if (line != std::string::npos) text.erase(0, line + 1);
  throw RunError(program_, "ended before it answered" + (text.empty() ? "" : ": " + text));
}

void WorkerProcess::write(std::span<const std::byte> bytes) {
  // A worker that has gone must not end this process by SIGPIPE.
  sigset_t pipe_signal;
  sigset_t before;
  ::sigemptyset(&pipe_signal);
  ::sigaddset(&pipe_signal, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  bool gone = false;
  while (!bytes.empty() && !gone) {
    const ssize_t done = ::write(input_, bytes.data(), bytes.size());
    if (done >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(done));
    } else if (errno != EINTR) {
      gone = true;
    }
  }
  if (gone && ::sigismember(&before, SIGPIPE) == 0) {
    const timespec none{};
    ::sigtimedwait(&pipe_signal, nullptr, &none);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (gone) fail();
}

void WorkerProcess::await_answer() {
  using std::chrono::milliseconds;
  while (true) {
    const auto left =
        std::chrono::ceil<milliseconds>(*deadline_ - std::chrono::steady_clock::now());
    pollfd answer{output_, POLLIN, 0};
    const int found =
        ::poll(&answer, 1, static_cast<int>(std::max<milliseconds::rep>(0, left.count())));
    if (found > 0 || (found < 0 && errno != EINTR)) return;
    if (found < 0 || left.count() > 0) continue;
    missed_deadline_ = true;
    ::kill(pid_, SIGKILL);
    throw RunError(program_, "did not answer in time");
  }
}

void WorkerProcess::read(std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    if (deadline_) await_answer();
    const ssize_t done = ::read(output_, bytes.data(), bytes.size());
    if (done > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(done));
    } else if (done == 0 || errno != EINTR) {
      fail();
    }
  }
}

}  // namespace infinipipe
