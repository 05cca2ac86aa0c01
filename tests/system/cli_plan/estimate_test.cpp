// Planning for a GPU that is not there: every command that takes a profile, from the name alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "system/cli_plan/program.h"

namespace infinipipe::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Estimate : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    write("lengths.txt", "60000\n9000\n9000\n4000\n800\n300\n");
  }
  std::vector<std::string> with(std::vector<std::string> command,
                                const std::vector<std::string>& more = {}) const {
    for (const char* word :
         {"--lengths", "lengths.txt", "--model.preset", "8b", "--training.dtype", "bfloat16"})
      command.emplace_back(word);
    command.insert(command.end(), more.begin(), more.end());
    return command;
  }
};

TEST_F(Estimate, PlansOfAGpuAreProvedAndSimulated) {
  const Outcome made = run(with({"plan", "--cluster.profile", "estimate:h100"},
                                {"--parallelism.stages", "4", "--parallelism.sequence_parallel",
                                 "2", "--out", "plan.json", "--profile-out", "h100.json"}));
  ASSERT_EQ(made.code, 0) << made.error;
  EXPECT_EQ(run({"validate", "plan.json", "--profile", "h100.json"}).code, 0);
  const Outcome simulated = run({"simulate", "plan.json", "--profile", "h100.json", "--json", "-"});
  ASSERT_EQ(simulated.code, 0) << simulated.error;
  EXPECT_EQ(simulated.error, "");  // the plan's own profile
  EXPECT_THAT(read("h100.json"), AllOf(HasSubstr("\"estimated\""), HasSubstr("H100")));
}

TEST_F(Estimate, LayoutsAndSystemsAreCompared) {
  const Outcome chosen = run(
      with({"plan", "--auto", "--cluster.devices", "16"}, {"--cluster.profile", "estimate:a100"}));
  EXPECT_EQ(chosen.code, 0) << chosen.error;
  const Outcome compared =
      run(with({"compare", "--cluster.profile", "estimate:h200"},
               {"--parallelism.stages", "2", "--parallelism.sequence_parallel", "4"}));
  EXPECT_EQ(compared.code, 0) << compared.error;
}

TEST_F(Estimate, OtherNamesAreRefusedWithTheList) {
  const Outcome made =
      run(with({"plan", "--cluster.profile", "estimate:mi300x"}, {"--out", "plan.json"}));
  EXPECT_EQ(made.code, 2);
  EXPECT_THAT(made.error, HasSubstr("expected h100, a100, h200, b200, 4090, a10 or l40s"));
}

TEST_F(Estimate, APlanAloneDoesNotSayTheModel) {
  write("plan.json", "{}");
  run(with({"plan"}, {"--out", "plan.json"}));
  for (const char* command : {"simulate", "validate"}) {
    const Outcome told = run({command, "plan.json", "--profile", "estimate:h100"});
    EXPECT_EQ(told.code, 2);
    EXPECT_THAT(told.error, HasSubstr("--profile-out")) << command;
  }
}

}  // namespace
}  // namespace infinipipe::testing
