// Ranks as threads, then as processes that are killed and stopped: who is named, and by how many.
#include "dist/heartbeat.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <memory>
#include <optional>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace infinipipe {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr Seconds kBeat = 0.05;
constexpr Seconds kLimit = 2.0;  // a busy machine lets a thread wait for long

using Clients = std::function<c10::intrusive_ptr<c10d::Store>()>;

Clients hash_store() {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  return [store] { return store; };
}

Clients tcp_store() {
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  const auto server = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  return [server] {
    c10d::TCPStoreOptions client;
    client.port = server->getPort();
    client.waitWorkers = false;
    return c10::make_intrusive<c10d::TCPStore>("127.0.0.1", client);
  };
}

// Ranks that are threads of this process.
class Ranks {
 public:
  explicit Ranks(int size, Clients clients = hash_store(), Seconds stalled_after = 0)
      : clients_(std::move(clients)), hearts_(static_cast<std::size_t>(size)) {
    for (int rank = 0; rank < size; ++rank) {
      Heartbeat::Options options;
      options.rank = rank;
      options.size = size;
      options.beat = kBeat;
      options.lost_after = kLimit;
      options.stalled_after = stalled_after;
      options.end = [this](const std::string& line) {
        const std::lock_guard lock(mutex_);
        ++ended_;
        if (!line.empty()) lines_.push_back(line);
        changed_.notify_all();
      };
      hearts_[static_cast<std::size_t>(rank)] = std::make_unique<Heartbeat>(clients_(), options);
    }
  }
  ~Ranks() { hearts_.clear(); }

  Heartbeat& operator[](int rank) { return *hearts_[static_cast<std::size_t>(rank)]; }
  void kill(int rank) { hearts_[static_cast<std::size_t>(rank)].reset(); }

  // What was said once `count` ranks have ended: one line, in a run of any size.
  std::string verdict(int count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return ended_ >= count; }))
        << ended_ << " have ended";
    EXPECT_EQ(ended_, count);
    EXPECT_EQ(lines_.size(), 1u) << ::testing::PrintToString(lines_);
    return lines_.empty() ? "" : lines_.front();
  }
  // Whether anyone ends within the time.
  bool quiet(Seconds time) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, std::chrono::duration<double>(time),
                              [&] { return ended_ > 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int ended_ = 0;
  std::vector<std::string> lines_;
  Clients clients_;  // has the store
  std::vector<std::unique_ptr<Heartbeat>> hearts_;
};

class OnEachStore : public ::testing::TestWithParam<bool> {
 protected:
  static Clients clients() { return GetParam() ? tcp_store() : hash_store(); }
};
INSTANTIATE_TEST_SUITE_P(Heartbeat, OnEachStore, ::testing::Bool());

TEST_P(OnEachStore, ALostRankIsNamedInOneLine) {
  Ranks ranks(4, clients());
  ranks[2].at(17, "B0.2");
  ranks[3].at(0, "");
  ASSERT_TRUE(ranks.quiet(4 * kBeat));  // a beat has told so
  ranks.kill(2);
  EXPECT_THAT(ranks.verdict(3), AllOf(HasSubstr("error: step 17: lost rank 2, silent for "),
                                      HasSubstr(" s; last seen at B0.2; restart with --resume")));
}

TEST_P(OnEachStore, RankZeroIsJudgedByTheOthers) {
  Ranks ranks(3, clients());
  ASSERT_TRUE(ranks.quiet(4 * kBeat));
  ranks.kill(0);
  EXPECT_THAT(ranks.verdict(2), HasSubstr("error: lost rank 0, silent for "));
}

TEST_P(OnEachStore, AFailureIsEveryonesEnd) {
  Ranks ranks(4, clients());
  ranks[3].at(5, "F1.0");
  ranks[3].fail("F1.0", "out of memory");
  EXPECT_EQ(ranks.verdict(4), "error: step 5: rank 3: F1.0: out of memory; restart with --resume");
}

TEST_P(OnEachStore, TheOrderlyEndWaitsForTheLastAndJudgesNobody) {
  Ranks ranks(4, clients());
  std::vector<std::thread> threads;
  std::array<bool, 4> good{};
  for (int rank = 0; rank < 4; ++rank) {
    threads.emplace_back([&, rank] {
      if (rank == 1) ranks.quiet(2 * kBeat);
      good[static_cast<std::size_t>(rank)] = ranks[rank].finish();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(good, ::testing::Each(true));
  for (const int gone : {2, 0}) ranks.kill(gone);
  EXPECT_TRUE(ranks.quiet(2 * kLimit));
}

TEST(Heartbeat, OfTwoFaultsAtOnceOneIsTheVerdict) {
  for (int i = 0; i < 5; ++i) {
    Ranks ranks(4);
    std::thread other([&] { ranks[1].fail("save", "disk full"); });
    ranks[3].fail("F0.0", "out of memory");
    other.join();
    EXPECT_THAT(ranks.verdict(4), ::testing::AnyOf(HasSubstr("disk full"), HasSubstr("memory")));
  }
}

TEST(Heartbeat, ABrokenConnectionIsBlamedAfterTwoBeats) {
  Ranks ranks(4);
  ASSERT_TRUE(ranks.quiet(2 * kBeat));
  ranks[1].lost(2);
  EXPECT_EQ(ranks.verdict(4),
            "error: lost rank 2, the connection to it broke; last seen at idle; restart with "
            "--resume");
}

TEST(Heartbeat, ABrokenConnectionIsNobodysFaultWhereThereIsAVerdict) {
  Ranks ranks(4);
  std::thread neighbour([&] { ranks[1].lost(2); });
  ranks[3].fail("F0.0", "out of memory");
  neighbour.join();
  EXPECT_THAT(ranks.verdict(4), HasSubstr("rank 3: F0.0"));
}

TEST(Heartbeat, AStalledRunSaysWhereEveryRankIs) {
  Ranks ranks(2, hash_store(), 0.5);
  ranks[0].at(4, "F0.1");
  ranks[1].at(4, "B0.0");
  EXPECT_THAT(ranks.verdict(2), AllOf(HasSubstr("error: step 4: nothing moved for 0."),
                                      HasSubstr(": rank 0 at F0.1, rank 1 at B0.0; restart")));
}

TEST(Heartbeat, ARunThatMovesOrWaitsForACommandIsNotStalled) {
  Ranks ranks(2, hash_store(), 0.5);
  ranks[0].at(4, "F0.1");
  for (int i = 0; i < 10; ++i) {
    ranks[1].at(4, "B0.0");  // one that moves is enough
    ASSERT_TRUE(ranks.quiet(0.1));
  }
  for (int rank = 0; rank < 2; ++rank) ranks[rank].at(0, "");
  EXPECT_TRUE(ranks.quiet(1.0));
}

TEST(Heartbeat, ALongTextAndOddPlacesArrive) {
  Ranks ranks(2);
  ranks[1].at(1, " odd place ");
  ranks[1].fail("  two  blanks", std::string(5000, 'x'));
  EXPECT_THAT(ranks.verdict(2), HasSubstr(":   two  blanks: " + std::string(5000, 'x')));
}

// ---- Processes ----

struct Process {
  pid_t pid = -1;
  int out = -1;  // what it says when it ends
};

// Four ranks that beat until they end with 1; the store is rank 0's.
class Processes {
 public:
  Processes() {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(socket, any, size) | ::listen(socket, 16) | ::getsockname(socket, any, &size),
              0);
    for (int rank = 0; rank < 4; ++rank) {
      std::array<int, 2> pipe{};
      EXPECT_EQ(::pipe(pipe.data()), 0);
      const pid_t pid = ::fork();
      if (pid == 0) run(rank, rank == 0 ? socket : -1, ntohs(address.sin_port), pipe[1]);
      ::close(pipe[1]);
      processes_.push_back({pid, pipe[0]});
    }
    ::close(socket);
    for (const Process& process : processes_) {
      char ready = 0;
      EXPECT_EQ(::read(process.out, &ready, 1), 1);
    }
  }
  ~Processes() {
    for (const Process& process : processes_) {
      if (process.pid > 0) ::kill(process.pid, SIGKILL);
      if (process.pid > 0) ::waitpid(process.pid, nullptr, 0);
      ::close(process.out);
    }
  }

  pid_t pid(int rank) const { return processes_[static_cast<std::size_t>(rank)].pid; }

  // Waits for the end of a rank, which must be by exit code 1; what it said.
  std::string end(int rank) {
    Process& process = processes_[static_cast<std::size_t>(rank)];
    int status = 0;
    EXPECT_EQ(::waitpid(process.pid, &status, 0), process.pid);
    process.pid = -1;
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1) << "rank " << rank << ' ' << status;
    std::string text(1000, '\0');
    const ssize_t got = ::read(process.out, text.data(), text.size());
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
  }
  // The line of all that end by themselves; whoever says something says the same.
  std::string verdict(int victim) {
    std::string line;
    for (int rank = 0; rank < 4; ++rank) {
      if (rank == victim) continue;
      const std::string said = end(rank);
      if (said.empty()) continue;
      EXPECT_TRUE(line.empty() || victim == 0) << said << '\n' << line;
      line = said;
    }
    return line;
  }

 private:
  [[noreturn]] static void run(int rank, int socket, int port, int out) {
    ::setenv("TORCH_CPP_LOG_LEVEL", "ERROR", 0);
    c10d::TCPStoreOptions options;
    options.port = static_cast<std::uint16_t>(port);
    options.waitWorkers = false;
    c10d::TCPStoreOptions server = options;
    server.isServer = true;
    if (rank == 0) server.masterListenFd = socket;
    c10::intrusive_ptr<c10d::TCPStore> holder;
    if (rank == 0) holder = c10::make_intrusive<c10d::TCPStore>("127.0.0.1", server);
    Heartbeat::Options heart;
    heart.rank = rank;
    heart.size = 4;
    heart.beat = kBeat;
    heart.lost_after = kLimit;
    heart.end = [out](const std::string& line) {
      [[maybe_unused]] const auto put = ::write(out, line.data(), line.size());
      ::_exit(1);
    };
    std::signal(SIGTERM, [](int) { asked = 1; });
    heart.asked_to_stop = [] { return asked != 0; };
    Heartbeat heartbeat(c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options), heart);
    [[maybe_unused]] const auto ready = ::write(out, ".", 1);
    while (true) ::pause();
  }

  static inline volatile std::sig_atomic_t asked = 0;
  std::vector<Process> processes_;
};

// As where a launcher ends all that are left of a run, of which it has named the rank at fault.
TEST(HeartbeatOfProcesses, WhoWasAskedToStopBlamesNobodyForHavingGone) {
  Processes ranks;
  for (int rank = 1; rank < 4; ++rank) ::kill(ranks.pid(rank), SIGTERM);
  ::kill(ranks.pid(0), SIGKILL);
  EXPECT_EQ(ranks.verdict(0), "");
}

TEST(HeartbeatOfProcesses, AKilledRankIsNamed) {
  for (const int victim : {2, 0}) {
    Processes ranks;
    ::kill(ranks.pid(victim), SIGKILL);
    EXPECT_THAT(ranks.verdict(victim), HasSubstr("lost rank " + std::to_string(victim) + ","));
  }
}

TEST(HeartbeatOfProcesses, AStoppedRankIsNamedAndEndsWhenItGoesOn) {
  for (const int victim : {2, 0}) {
    Processes ranks;
    ::kill(ranks.pid(victim), SIGSTOP);
    EXPECT_THAT(ranks.verdict(victim), HasSubstr("lost rank " + std::to_string(victim) + ","));
    ::kill(ranks.pid(victim), SIGCONT);
    ranks.end(victim);
  }
}

TEST(HeartbeatOfProcesses, WhenAllWereStoppedNobodyIsBlamed) {
  Processes ranks;
  for (int rank = 0; rank < 4; ++rank) ::kill(ranks.pid(rank), SIGSTOP);
  ::usleep(static_cast<useconds_t>(2e6 * kLimit));
  for (int rank = 0; rank < 4; ++rank) ::kill(ranks.pid(rank), SIGCONT);
  ::usleep(static_cast<useconds_t>(2e6 * kLimit));
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(::waitpid(ranks.pid(rank), nullptr, WNOHANG), 0) << "rank " << rank << " has ended";
  }
}

}  // namespace
}  // namespace infinipipe
