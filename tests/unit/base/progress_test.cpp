#include "base/progress.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

namespace infinipipe {
namespace {

// What a process of its own tells by the descriptor named in the variable; `listen`: whether
// anybody reads at the time.
std::string told(bool listen) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv(kProgressVariable, std::to_string(ends[1]).c_str(), 1);
    ::close(ends[0]);
    if (!listen) ::usleep(100'000);
    report_progress(7);
    report_progress(1'000'000);
    report_end(-2'147'483'647);
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text(64, '\0');
  if (!listen) ::close(ends[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
  if (!listen) return {};
  const ssize_t got = ::read(ends[0], text.data(), text.size());
  ::close(ends[0]);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

TEST(Progress, IsALinePerReport) { EXPECT_EQ(told(true), "7\n1000000\nend -2147483647\n"); }

TEST(Progress, AStarterThatHasGoneIsNoMatter) { told(false); }

TEST(Progress, NobodyAsked) { report_progress(1); }

}  // namespace
}  // namespace infinipipe
