#include "dist/fault_injection.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// The status of a process that asks for the fault and comes to three places; 0: it did not strike,
// 40: by an exception, 50 + n: a refusal at place n.
int status(const char* fault) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("INFINIPIPE_FAULT", fault, 1);
    int place = 0;
    try {
      fail_as_wanted(1, 3, "F0.2");
      ++place;
      fail_as_wanted(2, 3, "B0.2");
      ++place;
      fail_as_wanted(2, 3, "B0.3");
    } catch (const InputError&) {
      ::_exit(50 + place);
    } catch (const RunError&) {
      ::_exit(40);
    }
    ::_exit(0);
  }
  int found = 0;
  ::waitpid(child, &found, WUNTRACED);
  if (WIFSTOPPED(found)) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return -SIGSTOP;
  }
  return WIFEXITED(found) ? WEXITSTATUS(found) : -WTERMSIG(found);
}

TEST(FaultInjection, StrikesAtItsPlaceAlone) {
  EXPECT_EQ(status("rank=2,step=3,at=B,kind=kill"), -SIGKILL);
  EXPECT_EQ(status("rank=2,step=3,at=B0.3,kind=stop"), -SIGSTOP);
  EXPECT_EQ(status("kind=exit"), 3);
  EXPECT_EQ(status("step=3,at=F,kind=exception"), 40);
  EXPECT_EQ(status("rank=1,at=B,kind=kill"), 0);
  EXPECT_EQ(status("rank=2,step=4,kind=kill"), 0);
  EXPECT_EQ(status("at=0.2,kind=kill"), 0);
}

TEST(FaultInjection, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(status("rank=x,kind=kill"), 50);
  EXPECT_EQ(status("node=1,kind=kill"), 50);
  EXPECT_EQ(status("rank=2,kind=burn"), 51);
  EXPECT_EQ(status("rank=2"), 51);
}

TEST(FaultInjection, NobodyAsked) {
  EXPECT_FALSE(kFaultWanted);
  maybe_fail(0, 0, "F0.0");
}

}  // namespace
}  // namespace infinipipe
