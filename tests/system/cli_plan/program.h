// Runs the built program as a user would.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"

namespace infinipipe::testing {

// Of a help text from `heading` on: every row of blanks and line ends as one blank.
inline std::string unwrapped(const std::string& help, const std::string& heading) {
  std::string text;
  for (const char c : help.substr(std::min(help.find(heading), help.size()))) {
    const bool blank = c == ' ' || c == '\n';
    if (!blank || (!text.empty() && text.back() != ' ')) text += blank ? ' ' : c;
  }
  return text;
}

struct Outcome {
  int code = -1;
  std::string out;
  std::string error;
};

// A test with a folder of its own, in which the program runs.
class ProgramTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* const info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("infinipipe_cli_" + std::to_string(getpid()) + "_" + info->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    write_file(path(name), text);
  }
  std::string read(const std::string& name) const { return read_file(path(name)); }

  // Single quotes around every argument; none may hold one.
  Outcome run(const std::vector<std::string>& arguments) const {
    const std::string out = (folder_ / ".out").string();
    const std::string error = (folder_ / ".err").string();
    std::string command = "cd '" + folder_.string() + "' && '" INFINIPIPE_BINARY "'";
    for (const std::string& argument : arguments) command += " '" + argument + "'";
    command += " >'" + out + "' 2>'" + error + "' </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out), read_file(error)};
  }

  // The program must refuse: its exit code, nothing on stdout, one line on stderr.
  void expect_error(const std::vector<std::string>& arguments, int code,
                    const std::string& message) const {
    std::string shown = "infinipipe";
    for (const std::string& argument : arguments) shown += " " + argument;
    SCOPED_TRACE(shown);
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, code) << outcome.error;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(outcome.error.starts_with("error: ")) << outcome.error;
    EXPECT_EQ(outcome.error.find('\n'), outcome.error.size() - 1) << outcome.error;
    EXPECT_NE(outcome.error.find(message), std::string::npos)
        << "expected: " << message << "\nfound:    " << outcome.error;
  }

  std::filesystem::path folder_;
};

}  // namespace infinipipe::testing
