// Ranks that are processes execute the same drawn plans to the same bits as threads do. The other
// ranks are this program once more, which then serves instead of testing.
#include <ATen/Parallel.h>
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/loopback.h"
#include "dist/ranks.h"
#include "property/ranks/outcome.h"
#include "runtime/rank_server.h"
#include "runtime/remote_ranks.h"
#include "support/soak.h"

namespace infinipipe::testing {
namespace {

constexpr const char* kServe = "serve";

Launch launch_of(int rank, int size, int port) {
  Launch launch;
  launch.launcher = "a test";
  launch.rank = launch.local_rank = rank;
  launch.size = launch.local_size = size;
  launch.address = "127.0.0.1";
  launch.port = port;
  return launch;
}

Ranks::Options ranks_options() {
  Ranks::Options options;
  options.end = [](const std::string& line) {
    const std::string whole = line + "\n";
    [[maybe_unused]] const auto put = ::write(STDERR_FILENO, whole.data(), whole.size());
    ::_exit(1);
  };
  return options;
}

int serve_as_process(int rank, int size, int port) {
  Ranks ranks(launch_of(rank, size, port), ranks_options());
  ServeOptions serving;
  serving.jobs = {&kBits};
  serve(ranks, serving);
  ranks.finish();
  return 0;
}

// All ranks of a run but the first.
class OtherProcesses {
 public:
  OtherProcesses(int size, int port) {
    for (int rank = 1; rank < size; ++rank) {
      std::array<std::string, 5> words = {"rank", kServe, std::to_string(rank),
                                          std::to_string(size), std::to_string(port)};
      std::vector<char*> arguments;
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      pid_t pid = -1;
      EXPECT_EQ(::posix_spawn(&pid, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ),
                0);
      pids_.push_back(pid);
    }
  }
  ~OtherProcesses() {
    for (const pid_t pid : pids_) ::kill(pid, SIGKILL);
    for (const pid_t pid : pids_) ::waitpid(pid, nullptr, 0);
  }

  void expect_good_end() {
    for (const pid_t pid : pids_) {
      int status = -1;
      EXPECT_EQ(::waitpid(pid, &status, 0), pid);
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    }
    pids_.clear();
  }

 private:
  std::vector<pid_t> pids_;
};

Outcome as_processes(const Case& c, Engine::Options options) {
  const int size = static_cast<int>(options.stages.size()) * options.replicas;
  const int socket = listen_at_loopback(0);
  sockaddr_in address{};
  socklen_t bytes = sizeof address;
  EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &bytes), 0);
  const int port = ntohs(address.sin_port);
  OtherProcesses others(size, port);
  Launch launch = launch_of(0, size, port);
  launch.listen_fd = socket;
  Outcome outcome;
  {
    Ranks ranks(launch, ranks_options());
    options.ranks = &ranks;
    {
      Engine engine(options);
      outcome = train_a_little(engine, c);
    }
    RemoteRanks(&ranks).dismiss();
    ranks.finish();
  }
  others.expect_good_end();
  return outcome;
}

TEST(RanksAsProcesses, EqualThreadsToTheBit) {
  at::set_num_threads(1);
  int done = 0;
  for (std::uint64_t i = 0; done < scaled(3) && !HasFailure(); ++i) {
    Random random(1016, i);
    const Case c = make_case(random);
    if (c.plan.stages.size() * c.plan.replicas.size() == 1) continue;
    const Engine::Options options = options_of(c, Dtype::kFloat32, ++done % 2 == 0);
    expect_same(as_processes(c, options), as_threads(c, options), "case " + std::to_string(i));
  }
}

}  // namespace
}  // namespace infinipipe::testing

int main(int argc, char** argv) {
  if (argc == 5 && std::string(argv[1]) == infinipipe::testing::kServe) {
    return infinipipe::testing::serve_as_process(std::atoi(argv[2]), std::atoi(argv[3]),
                                                 std::atoi(argv[4]));
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
