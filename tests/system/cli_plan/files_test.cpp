// Files that commands read and write: what must not be overwritten, links, and the end of memory.
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "infinipipe/core/plan_json.h"
#include "infinipipe/cost/profile.h"
#include "system/cli_plan/program.h"
#include "unit/core/test_plans.h"

namespace infinipipe {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // takes memory of its own
#else
constexpr bool kSanitized = false;
#endif

class Files : public testing::ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    write_plan(path("p.json"), testing::make_plan());
    write("profile.json", profile_to_json(estimated_profile(ModelSpec{}, Dtype::kFloat32)).dump());
    write("lengths.txt", "300\n200\n100\n");
    write("a.txt", "some text");
  }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with('.')) found.push_back(name);
    }
    return found;
  }

  void expect_conflict(const std::vector<std::string>& command, const std::string& flag,
                       const std::string& other) const {
    const std::vector<std::string> before = names();
    expect_error(command, 2, "command line: " + flag + ": found ");
    EXPECT_THAT(run(command).error, HasSubstr("the file of " + other));
    EXPECT_EQ(names(), before);
  }

  struct Measured {
    int code = -1;
    std::int64_t peak_bytes = 0;
    std::string error;
  };
  // In a process of its own, of so many bytes of memory at most; 0: as it is.
  Measured run_measured(const std::vector<std::string>& arguments, std::int64_t limit) const {
    const std::string error = (folder_ / ".err").string();
    const pid_t child = ::fork();
    if (child == 0) {
      if (limit > 0) {
        const rlimit most{static_cast<rlim_t>(limit), static_cast<rlim_t>(limit)};
        ::setrlimit(RLIMIT_AS, &most);
      }
      std::vector<std::string> words = {INFINIPIPE_BINARY};
      words.insert(words.end(), arguments.begin(), arguments.end());
      std::vector<char*> pointers;
      for (std::string& word : words) pointers.push_back(word.data());
      pointers.push_back(nullptr);
      const bool ready = ::chdir(folder_.c_str()) == 0 &&
                         std::freopen("/dev/null", "w", stdout) != nullptr &&
                         std::freopen(error.c_str(), "w", stderr) != nullptr;
      if (ready) ::execv(pointers.front(), pointers.data());
      ::_exit(127);
    }
    int status = 0;
    rusage usage{};
    ::wait4(child, &status, 0, &usage);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, usage.ru_maxrss * 1024, read_file(error)};
  }
};

TEST_F(Files, AnOutputOverwritesNoOtherFileOfItsCommand) {
  const std::vector<std::string> simulate = {"simulate", "p.json", "--profile", "profile.json"};
  const auto simulated = [&](std::vector<std::string> more) {
    std::vector<std::string> command = simulate;
    command.insert(command.end(), more.begin(), more.end());
    return command;
  };
  expect_conflict(simulated({"--trace", "x", "--html", "x"}), "--html", "--trace");
  expect_conflict(simulated({"--trace", "x", "--json", "./y/../x"}), "--json", "--trace (x)");
  expect_conflict(simulated({"--json", "p.json"}), "--json", "PLAN");
  expect_conflict(simulated({"--trace", "profile.json"}), "--trace", "--profile");
  expect_conflict(simulated({"--measured", "a.txt", "--html", path("a.txt")}), "--html",
                  "--measured (a.txt)");
  fs::create_symlink("p.json", path("link"));
  fs::create_hard_link(path("p.json"), path("hard"));
  fs::create_symlink("made", path("first"));
  fs::create_symlink("made", path("second"));
  expect_conflict(simulated({"--json", "link"}), "--json", "PLAN (p.json)");
  expect_conflict(simulated({"--json", "hard"}), "--json", "PLAN (p.json)");
  expect_conflict(simulated({"--json", "first", "--html", "second"}), "--json", "--html (second)");
}

TEST_F(Files, EveryCommandThatWritesHoldsToIt) {
  expect_conflict({"plan", "--lengths", "lengths.txt", "--out", "lengths.txt"}, "--out",
                  "--lengths");
  expect_conflict({"plan", "--lengths", "lengths.txt", "--out", "profile.json", "--cluster.profile",
                   "profile.json"},
                  "--out", "--cluster.profile");
  write("c.toml", "[cluster]\nprofile = \"profile.json\"\n");
  expect_conflict({"plan", "--lengths", "lengths.txt", "--out", "c.toml", "--config", "c.toml"},
                  "--out", "--config");
  const std::vector<std::string> by_file = {"plan",         "--lengths", "lengths.txt", "--out",
                                            "profile.json", "--config",  "c.toml"};
  expect_error(by_file, 2, "--out: found profile.json, the file of c.toml: cluster.profile");
  expect_conflict({"compare", "--lengths", "lengths.txt", "--json", "x", "--html", "x"}, "--html",
                  "--json");
  expect_conflict({"compare", "--lengths", "lengths.txt", "--json", "lengths.txt"}, "--json",
                  "--lengths");
  expect_conflict({"data", "stats", "lengths.txt", "--lengths", "--json", "lengths.txt"}, "--json",
                  "PREFIX");
  write("set.bin", "text");
  expect_conflict({"data", "build", "--input", "a.txt", "--input", "set.bin", "--out", "set"},
                  "--out", "--input");
  expect_conflict({"data", "stats", "set", "--json", "set.bin"}, "--json", "PREFIX");
  EXPECT_EQ(read("set.bin"), "text");
  EXPECT_EQ(read("lengths.txt"), "300\n200\n100\n");
}

TEST_F(Files, WhatTakesEverythingMayBeNamedAgain) {
  const auto outcome = run({"simulate", "p.json", "--profile", "profile.json", "--trace",
                            "/dev/null", "--html", "/dev/null", "--json", "/dev/null"});
  EXPECT_EQ(outcome.code, 0) << outcome.error;
  EXPECT_EQ(run({"data", "build", "--input", "a.txt", "--input", "a.txt", "--out", "set"}).code, 0);
  // A folder that is read may hold what is written.
  EXPECT_EQ(run({"data", "build", "--input", ".", "--pattern", "*.txt", "--out", "set"}).code, 0);
}

TEST_F(Files, ALinkIntoAMissingFolderIsAnErrorAndStays) {
  const auto expect_refused = [&](const std::vector<std::string>& command,
                                  const std::string& link) {
    fs::create_symlink("none/file", path(link));
    expect_error(command, 1, link + ": is a link to none/file, whose folder is not there");
    EXPECT_TRUE(fs::is_symlink(path(link)));
    fs::remove(path(link));
    fs::create_symlink(link, path(link));
    expect_error(command, 1, link + ": is a link that leads back to itself");
    EXPECT_TRUE(fs::is_symlink(path(link)));
    fs::remove(path(link));
  };
  expect_refused({"data", "lengths", "--model", "github", "--out", "l"}, "l");
  expect_refused({"plan", "--lengths", "lengths.txt", "--out", "l"}, "l");
  expect_refused({"data", "build", "--input", "a.txt", "--out", "l"}, "l.bin");
  expect_refused({"data", "build", "--input", "a.txt", "--out", "l"}, "l.idx");
  EXPECT_THAT(names(), UnorderedElementsAre("p.json", "profile.json", "lengths.txt", "a.txt"));
  fs::create_symlink("made", path("l"));
  EXPECT_EQ(run({"data", "lengths", "--model", "github", "--count", "2", "--out", "l"}).code, 0);
  EXPECT_TRUE(fs::is_symlink(path("l")));
  EXPECT_TRUE(fs::is_regular_file(path("made")));
}

// A line of `part` again and again, written in small pieces: what this process holds would count.
void write_line(const std::string& path, const std::string& begin,
                const std::function<std::string(int)>& part, std::size_t size,
                const std::string& end) {
  std::ofstream file(path, std::ios::binary);
  file << begin;
  std::size_t written = 0;
  for (int i = 0; written < size; ++i) {
    const std::string text = part(i);
    file << text;
    written += text.size();
  }
  file << end;
}

TEST_F(Files, ALongLineTakesAFewTimesItsSize) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer takes memory of its own";
  constexpr std::int64_t kBytes = std::int64_t{48} << 20;
  // Beside what the program's own libraries take.
  const std::int64_t most =
      4 * kBytes + (std::int64_t{64} << 20) + run_measured({"--version"}, 0).peak_bytes;
  const auto expect_small = [&](const std::string& begin,
                                const std::function<std::string(int)>& part, const std::string& end,
                                int code) {
    write_line(path("l.jsonl"), begin, part, kBytes, end);
    const Measured found = run_measured({"data", "build", "--input", "l.jsonl", "--out", "set"}, 0);
    EXPECT_EQ(found.code, code) << found.error;
    EXPECT_LT(found.peak_bytes, most) << begin << part(0);
  };
  const auto thousand = [](const std::string& text) {
    std::string all;
    for (int i = 0; i < 1000; ++i) all += text;
    return [all](int) { return all; };
  };
  expect_small("{\"text\": \"", thousand("word "), "\"}", 0);
  expect_small("{\"text\": \"", thousand("no end "), "", 2);
  expect_small("{\"text\": \"", thousand("\\n\\u20ac"), "\"}", 0);
  expect_small("{\"other\": [", thousand("0,"), "0], \"text\": \"x\"}", 0);
  const auto key = [](int i) { return "\"" + std::to_string(i) + "\":1,"; };
  expect_small("{", key, "\"text\": \"x\"}", 0);
}

TEST_F(Files, TheEndOfMemoryIsALineAndLeavesNothing) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer takes memory of its own";
  constexpr std::int64_t kMiB = std::int64_t{1} << 20;
  const std::string part(100'000, 'x');
  write_line(
      path("l.jsonl"), "{\"text\": \"short\"}\n{\"text\": \"", [&](int) { return part; },
      100 * kMiB, "\"}\n");
  std::string list = "[";
  while (list.size() < 16 * kMiB) list += "[{}],";
  write("list.json", list + "[]]");
  const std::vector<std::string> before = names();
  std::int64_t least = 16;  // the program's own libraries
  while (run_measured({"--version"}, least * kMiB).code != 0) least += 16;
  for (std::int64_t limit = least + 60; limit <= least + 240; limit += 45) {
    for (const char* threads : {"1", "4"}) {
      const Measured build = run_measured(
          {"data", "build", "--input", "l.jsonl", "--out", "set", "--threads", threads},
          limit * kMiB);
      EXPECT_EQ(build.code, 1) << limit << ": " << build.error;
      EXPECT_TRUE(build.error.starts_with("error: out of memory: ")) << build.error;
      EXPECT_EQ(build.error.find('\n'), build.error.size() - 1) << build.error;
    }
    const Measured validate = run_measured({"validate", "list.json"}, limit * kMiB);
    EXPECT_EQ(validate.code, 1) << limit << ": " << validate.error;
    EXPECT_TRUE(validate.error.starts_with("error: out of memory: ")) << validate.error;
  }
  EXPECT_EQ(names(), before);
}

}  // namespace
}  // namespace infinipipe
