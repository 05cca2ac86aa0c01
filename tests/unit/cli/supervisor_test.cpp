// Ranks that are shell scripts: what they get, write and end with, and what becomes of them.
#include "cli/supervisor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "base/file.h"

namespace infinipipe::cli {
namespace {

using ::testing::ElementsAre;

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

class SupervisorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("infinipipe_launch_" + std::to_string(getpid()));
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  // Functions that every script has.
  static constexpr const char* kPrelude =
      "await() { while [ ! -e \"$1\" ]; do sleep 0.01; done; }\n"
      "progress() { echo \"$1\" >&\"$INFINIPIPE_PROGRESS_FD\"; }\n"
      "leave() { progress \"end $1\"; exit $1; }\n"
      "endless() { while :; do sleep 0.05; done; }\n";

  static LaunchOptions launch(const std::string& script, int ranks = 2) {
    LaunchOptions launch;
    launch.program = {"/bin/bash", {"bash", "-c", kPrelude + script}};
    launch.ranks = ranks;
    return launch;
  }

  // supervise() in a process and folder of its own; `out` and `err` are files there unless given.
  pid_t start(const LaunchOptions& launch, int out = -1) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    if (::chdir(folder_.c_str()) != 0) ::_exit(99);
    if (out < 0) out = ::creat("out", 0600);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(::creat("err", 0600), STDERR_FILENO);
    ::close_range(3, ~0U, 0);
    int code = 98;
    try {
      code = supervise(launch);
    } catch (const std::exception& error) {
      dprintf(STDERR_FILENO, "thrown: %s\n", error.what());
    }
    ::_exit(code);
  }
  Outcome finish(pid_t child) const {
    int status = 0;
    ::waitpid(child, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1,
            std::filesystem::exists(path("out")) ? read_file(path("out")) : "",
            read_file(path("err"))};
  }
  Outcome run(const LaunchOptions& launch) { return finish(start(launch)); }

  static bool eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 2000 && !holds(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return holds();
  }
  void await(const std::string& name) const {
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(path(name)); })) << name;
  }
  // The process whose number a script wrote into the file has ended, whoever is to hear of it.
  bool gone(const std::string& name) const {
    std::ifstream stat("/proc/" + std::to_string(std::stoi(read_file(path(name)))) + "/stat");
    std::string number, program, state;
    return !(stat >> number >> program >> state) || state == "Z";
  }

  std::filesystem::path folder_;
};

std::vector<std::string> sorted_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  std::sort(lines.begin(), lines.end());
  return lines;
}

TEST(RankEnvironment, NamesTheRankAndNoOther) {
  const RankIdentity identity = {.rank = 1, .ranks = 3, .port = 77, .run_id = "x", .restart = 2};
  EXPECT_THAT(
      rank_environment({"PATH=/bin", "SLURM_PROCID=7", "OMPI_COMM_WORLD_RANK=7", "RANK=7",
                        "PMIX_RANK=7", "PMI_RANK=7", "TORCHELASTIC_RESTART_COUNT=7",
                        "INFINIPIPE_STORE_FD=7", "INFINIPIPE_FAULT=x", "RANKING=7"},
                       identity),
      ElementsAre("PATH=/bin", "INFINIPIPE_FAULT=x", "RANKING=7", "RANK=1", "WORLD_SIZE=3",
                  "LOCAL_RANK=1", "LOCAL_WORLD_SIZE=3", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=77",
                  "INFINIPIPE_LAUNCH=1", "INFINIPIPE_RUN_ID=x", "INFINIPIPE_RESTART=2"));
}

TEST_F(SupervisorTest, EachRankLearnsWhoItIs) {
  const Outcome all =
      run(launch("echo $RANK of $WORLD_SIZE, ${INFINIPIPE_STORE_FD:+store} "
                 "${INFINIPIPE_PROGRESS_FD:+progress}; echo $INFINIPIPE_RUN_ID > id.$RANK",
                 3));
  EXPECT_EQ(all.code, 0);
  EXPECT_THAT(sorted_lines(all.out),
              ElementsAre("0 of 3, store progress", "[rank 1] 1 of 3,", "[rank 2] 2 of 3,"));
  EXPECT_EQ(read_file(path("id.0")), read_file(path("id.2")));
  EXPECT_EQ(read_file(path("id.0")).size(), 17u);
}

TEST_F(SupervisorTest, RankZeroHoldsAListeningSocketAlone) {
  const Outcome all =
      run(launch("connect() { : <>/dev/tcp/127.0.0.1/$MASTER_PORT; }\n"
                 "if [ $RANK = 0 ]; then await connected; else\n"
                 "connect && touch connected; while connect 2>/dev/null; do sleep 0.01; done; fi"));
  EXPECT_EQ(all.code, 0) << all.err;  // rank 1 was refused once rank 0 had gone
}

TEST_F(SupervisorTest, TheExitCodeIsRankZerosOrTellsTheFault) {
  const struct {
    std::string rank_0, rank_1;
    int code;
  } cases[] = {{"exit 0", "exit 0", 0},     {"leave 7", "exit 0", 7},
               {"exit 1", "exit 0", 1},     {"exit 0", "exit 1", 1},
               {"exit 0", "exit 3", 1},     {"exit 2", "exit 0", 2},
               {"exit 1", "exit 2", 2},     {"leave 7", "exit 1", 1},
               {"kill -9 $$", "exit 0", 1}, {"exit 0", "kill -ABRT $$", 1},
               {"exit 3", "exit 0", 1},     {"progress 'end 7'; exit 3", "exit 0", 1}};
  for (const auto& each : cases) {
    const Outcome all =
        run(launch("if [ $RANK = 0 ]; then " + each.rank_0 + "; else " + each.rank_1 + "; fi"));
    EXPECT_EQ(all.code, each.code) << each.rank_0 << " | " << each.rank_1 << "\n" << all.err;
  }
}

TEST_F(SupervisorTest, DeathsAreNamed) {
  EXPECT_EQ(run(launch("[ $RANK = 0 ] || kill -9 $$")).err,
            "launch: rank 1 was killed by signal 9 (SIGKILL)\n");
  EXPECT_EQ(run(launch("[ $RANK = 0 ] || exit 3")).err, "launch: rank 1 ended with exit code 3\n");
  EXPECT_EQ(run(launch("[ $RANK = 1 ] || exit 3")).err, "launch: rank 0 ended with exit code 3\n");
  EXPECT_EQ(run(launch("[ $RANK = 0 ] || exit 1")).err, "");  // it said so itself
}

TEST_F(SupervisorTest, AProgramThatIsNotThereIsAnErrorWithoutRestart) {
  LaunchOptions none;
  none.program = {"/nowhere/program", {"program"}};
  none.max_restarts = 5;
  const Outcome all = run(none);
  EXPECT_EQ(all.code, 2);
  EXPECT_EQ(all.err,
            "error: launch: /nowhere/program cannot be started: No such file or directory\n");
}

TEST_F(SupervisorTest, LinesStayWhole) {
  // Rank 1 speaks while rank 0 is within a line; the last lines have no end.
  const Outcome all =
      run(launch("if [ $RANK = 0 ]; then printf a; touch begun; await said; echo b; "
                 "while ! grep -q 'rank 1. e' out; do sleep 0.01; done; printf end; "
                 "else await begun; echo c; echo d >&2; touch said; printf e; fi"));
  EXPECT_EQ(all.out, "ab\n[rank 1] c\n[rank 1] e\nend");
  EXPECT_EQ(all.err, "[rank 1] d\n");
}

TEST_F(SupervisorTest, AnOpenLineOfRankZeroHoldsTheOthersForASecondOnly) {
  const Outcome all = run(launch(
      "if [ $RANK = 0 ]; then printf a; touch begun; await done; else await begun; echo c; fi; "
      "if [ $RANK = 1 ]; then while ! grep -q c out; do sleep 0.05; done; touch done; fi"));
  EXPECT_EQ(all.out, "a\n[rank 1] c\n");
}

TEST_F(SupervisorTest, RankZerosBytesPassUnchanged) {
  std::string bytes;
  for (int i = 0; i < 300'000; ++i) bytes += static_cast<char>(i % 251);
  write_file(path("bytes"), bytes);
  EXPECT_EQ(run(launch("if [ $RANK = 0 ]; then cat bytes; fi")).out, bytes);
}

TEST_F(SupervisorTest, AReaderThatGoesIsRankZerosMatter) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t child = start(
      launch("trap '' PIPE; [ $RANK = 1 ] || { touch up; while echo x; do :; done; leave 7; }"),
      ends[1]);
  ::close(ends[1]);
  await("up");
  ::close(ends[0]);
  EXPECT_EQ(finish(child).code, 7);
}

TEST_F(SupervisorTest, RestartsFollowFailuresThatMadeProgress) {
  const struct {
    std::string script;
    int code;
    int starts;
  } cases[] = {
      {"[ $RANK = 1 ] || { progress $((INFINIPIPE_RESTART + 1)); exit 1; }", 1, 4},
      {"[ $RANK = 1 ] || { progress 5; kill -9 $$; }", 1, 2},  // nothing new the second time
      {"exit 1", 1, 2},
      {"[ $RANK = 0 ] || [ $INFINIPIPE_RESTART = 1 ] || kill -9 $$; "
       "[ $RANK = 1 ] || [ $INFINIPIPE_RESTART = 1 ]",
       0, 2},
      {"exit 2", 2, 1},
      {"[ $RANK = 1 ] || leave 7", 7, 1},
      {"[ $RANK = 1 ] || exit 7", 1, 2},  // not a code of its own
      {"[ $RANK = 0 ] || exit 1", 1, 1},  // rank 0 was done
  };
  for (const auto& each : cases) {
    std::filesystem::remove(path("starts"));
    LaunchOptions all = launch("[ $RANK = 1 ] || echo . >> starts\n" + each.script);
    all.max_restarts = 3;
    const Outcome outcome = run(all);
    EXPECT_EQ(outcome.code, each.code) << each.script << '\n' << outcome.err;
    EXPECT_EQ(read_file(path("starts")).size(), 2u * each.starts) << each.script;
  }
}

TEST_F(SupervisorTest, RestartsAreSaid) {
  LaunchOptions all = launch("[ $RANK = 1 ] || { progress 12; progress 17; exit 1; }");
  all.max_restarts = 3;
  EXPECT_EQ(run(all).err,
            "launch: restart 1 of 3, 17 steps done before\n"
            "launch: no restart, since the last one finished no new step\n");
}

TEST_F(SupervisorTest, EachStopSignalIsOneSigtermToEveryRank) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) {
    SCOPED_TRACE(signal);
    for (const char* const file : {"up.0", "up.1"}) std::filesystem::remove(path(file));
    LaunchOptions all = launch(
        "trap 'echo term' TERM; touch up.$RANK\n"
        "await stop.$RANK; [ $RANK = 0 ] && leave 5; exit 0");
    all.max_restarts = 3;
    const pid_t child = start(all);
    await("up.0");
    await("up.1");
    ::kill(child, signal);
    EXPECT_TRUE(eventually([&] {
      const std::string out = read_file(path("out"));
      return std::count(out.begin(), out.end(), '\n') == 2;
    }));
    for (const char* const file : {"stop.0", "stop.1"}) std::ofstream(path(file)).flush();
    const Outcome outcome = finish(child);
    EXPECT_EQ(outcome.code, 5);
    EXPECT_THAT(sorted_lines(outcome.out), ElementsAre("[rank 1] term", "term"));
    for (const char* const file : {"stop.0", "stop.1"}) std::filesystem::remove(path(file));
  }
}

TEST_F(SupervisorTest, TheSecondStopSignalKillsAll) {
  LaunchOptions all = launch("trap '' TERM; touch up.$RANK; endless");
  all.max_restarts = 3;
  const pid_t child = start(all);
  await("up.0");
  await("up.1");
  ::kill(child, SIGTERM);
  ::kill(child, SIGINT);
  const Outcome outcome = finish(child);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err, "");
}

TEST_F(SupervisorTest, AnIgnoredSignalStaysIgnored) {
  const auto before = std::signal(SIGHUP, SIG_IGN);
  const pid_t child = start(launch("touch up.$RANK; await stop"));
  std::signal(SIGHUP, before);
  await("up.0");
  await("up.1");
  ::kill(child, SIGHUP);
  std::ofstream(path("stop")).flush();
  EXPECT_EQ(finish(child).code, 0);
}

TEST_F(SupervisorTest, WhoOutlivesAFailureIsEndedWithAllThatItStarted) {
  LaunchOptions all = launch(
      "trap '' TERM; sleep 1000 & echo $! > child.$RANK; echo $$ > self.$RANK\n"
      "await self.0; await self.1; [ $RANK = 1 ] && exit 1; endless");
  all.grace = 0.2;
  const Outcome outcome = run(all);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err, "launch: rank 0 did not end and was killed\n");
  for (const char* const file : {"child.0", "child.1", "self.0", "self.1"}) {
    EXPECT_TRUE(eventually([&] { return gone(file); })) << file;
  }
}

TEST_F(SupervisorTest, NoRankOutlivesItsSupervisor) {
  const pid_t child = start(launch("echo $$ > self.$RANK; touch up.$RANK; endless"));
  await("up.0");
  await("up.1");
  ::kill(child, SIGKILL);
  finish(child);
  for (const char* const file : {"self.0", "self.1"}) {
    EXPECT_TRUE(eventually([&] { return gone(file); })) << file;
  }
}

}  // namespace
}  // namespace infinipipe::cli
