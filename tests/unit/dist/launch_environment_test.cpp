#include "dist/launch_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

using Variables = std::map<std::string, std::string>;

std::optional<Launch> launch_of(const Variables& variables) {
  return find_launch([&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

Variables with(Variables base, const Variables& more) {
  for (const auto& [name, value] : more) base[name] = value;
  return base;
}
Variables without(Variables base, const char* name) {
  base.erase(name);
  return base;
}

// What each launcher was seen to set.
const Variables kTorchrun = {{"RANK", "5"},
                             {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},
                             {"MASTER_ADDR", "a"},
                             {"MASTER_PORT", "4000"},
                             {"LOCAL_WORLD_SIZE", "4"},
                             {"TORCHELASTIC_RUN_ID", "none"},
                             {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                             {"TORCHELASTIC_RESTART_COUNT", "2"}};
const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "3"},
                            {"OMPI_COMM_WORLD_SIZE", "4"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "3"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                            {"PMIX_NAMESPACE", "prterun-a-1@1"}};
const Variables kHydra = {
    {"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}, {"MPI_LOCALNRANKS", "2"}};
const Variables kBatchScript = {{"SLURM_PROCID", "0"},
                                {"SLURM_NTASKS", "4"},
                                {"SLURM_LOCALID", "0"},
                                {"SLURM_JOB_ID", "77"},
                                {"SLURM_NODELIST", "n[1-2]"}};
const Variables kSlurm = with(kBatchScript, {{"SLURM_PROCID", "2"},
                                             {"SLURM_STEP_ID", "0"},
                                             {"SLURM_STEP_NUM_TASKS", "4"},
                                             {"SLURM_STEP_NUM_NODES", "2"},
                                             {"SLURM_STEP_NODELIST", "n[07-08],m1"}});
const Variables kOurs = {{"RANK", "0"},
                         {"WORLD_SIZE", "2"},
                         {"LOCAL_RANK", "0"},
                         {"LOCAL_WORLD_SIZE", "2"},
                         {"MASTER_ADDR", "127.0.0.1"},
                         {"MASTER_PORT", "4001"},
                         {"INFINIPIPE_LAUNCH", "1"},
                         {"INFINIPIPE_RUN_ID", "r"},
                         {"INFINIPIPE_RESTART", "3"},
                         {"INFINIPIPE_STORE_FD", "7"}};

TEST(LaunchEnvironment, NobodyStartedUs) {
  for (const Variables& variables :
       {Variables{}, kBatchScript, with(kBatchScript, {{"SLURM_STEP_NUM_TASKS", "4"}}),
        Variables{{"RANK", "0"}}, Variables{{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}},
        Variables{{"RANK", ""}, {"WORLD_SIZE", ""}},
        with(kTorchrun, {{"RANK", "0"}, {"WORLD_SIZE", "1"}})})
    EXPECT_FALSE(launch_of(variables));
}

TEST(LaunchEnvironment, EachLauncher) {
  struct Case {
    Variables variables;
    const char* launcher;
    int rank, size, local_rank, local_size;
    const char* address;
    int port;  // 0: from a hash
  };
  const std::vector<Case> cases = {
      {kTorchrun, "torchrun", 5, 8, 1, 4, "a", 4000},
      {without(without(kTorchrun, "LOCAL_RANK"), "MASTER_PORT"), "torchrun", 5, 8, 0, 4, "a",
       29500},
      {kOpenMpi, "mpirun", 3, 4, 3, 4, "127.0.0.1", 0},
      {with(kOpenMpi, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}, {"MASTER_ADDR", "a"}}), "mpirun", 3, 4,
       3, 2, "a", 0},
      {with(kOpenMpi, {{"MASTER_ADDR", "a"}, {"MASTER_PORT", "9"}}), "mpirun", 3, 4, 3, 4,
       "127.0.0.1", 9},
      {kHydra, "mpiexec", 1, 2, 1, 2, "127.0.0.1", 29500},
      {kSlurm, "srun", 2, 4, 0, 0, "n07", 0},
      {with(kSlurm, {{"MASTER_ADDR", "b"}}), "srun", 2, 4, 0, 0, "b", 0},
      {with(kSlurm, {{"SLURM_STEP_NUM_NODES", "1"}}), "srun", 2, 4, 0, 4, "127.0.0.1", 0},
      {kOurs, "infinipipe launch", 0, 2, 0, 2, "127.0.0.1", 4001},
      // One inside another: the innermost launcher's variables are those of this process.
      {with(kSlurm, kOpenMpi), "mpirun", 3, 4, 3, 4, "127.0.0.1", 0},
      {with(with(kSlurm, kOpenMpi), kOurs), "infinipipe launch", 0, 2, 0, 2, "127.0.0.1", 4001},
      {with(kSlurm, {{"PMI_RANK", "1"}, {"PMI_SIZE", "9"}}), "srun", 2, 4, 0, 0, "n07", 0},
  };
  for (const Case& want : cases) {
    SCOPED_TRACE(want.launcher);
    const std::optional<Launch> found = launch_of(want.variables);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->launcher, want.launcher);
    EXPECT_EQ(found->rank, want.rank);
    EXPECT_EQ(found->size, want.size);
    EXPECT_EQ(found->local_rank, want.local_rank);
    EXPECT_EQ(found->local_size, want.local_size);
    EXPECT_EQ(found->address, want.address);
    if (want.port > 0) {
      EXPECT_EQ(found->port, want.port);
    } else {
      EXPECT_GE(found->port, 10000);
      EXPECT_LT(found->port, 30000);
    }
  }
}

TEST(LaunchEnvironment, TheStoreOfTorchrunsAgentIsUsed) {
  const Launch launch = *launch_of(kTorchrun);
  EXPECT_TRUE(launch.store_is_there);
  EXPECT_EQ(launch.key_prefix, "attempt2");
  EXPECT_EQ(launch.restart, 2);
  // Even where all are on this host: the agent listens where it says.
  EXPECT_EQ(launch_of(with(kTorchrun, {{"LOCAL_WORLD_SIZE", "8"}}))->address, "a");
  const Launch own = *launch_of(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}}));
  EXPECT_FALSE(own.store_is_there);
  EXPECT_EQ(own.key_prefix, "");
}

TEST(LaunchEnvironment, OurOwnLauncherHandsOverASocket) {
  const Launch first = *launch_of(kOurs);
  EXPECT_EQ(first.listen_fd, 7);
  EXPECT_EQ(first.restart, 3);
  EXPECT_EQ(first.run_id, "r");
  EXPECT_TRUE(first.one_host());
  EXPECT_EQ(launch_of(with(kOurs, {{"RANK", "1"}}))->listen_fd, -1);
}

TEST(LaunchEnvironment, RanksAgreeOnThePortAndRunsDiffer) {
  const Launch one = *launch_of(kSlurm);
  EXPECT_EQ(launch_of(with(kSlurm, {{"SLURM_PROCID", "0"}}))->port, one.port);
  EXPECT_NE(launch_of(with(kSlurm, {{"SLURM_STEP_ID", "1"}}))->port, one.port);
  EXPECT_NE(launch_of(with(kSlurm, {{"SLURM_JOB_ID", "78"}}))->run_id, one.run_id);
}

TEST(LaunchEnvironment, NamesWhatIsWrong) {
  struct Case {
    Variables variables;
    const char* message;
  };
  const std::vector<Case> cases = {
      {with(kTorchrun, {{"WORLD_SIZE", "two"}}),
       "the environment variable WORLD_SIZE: found 'two'"},
      {with(kTorchrun, {{"WORLD_SIZE", "0"}}), "expected a whole number from 1"},
      {with(kTorchrun, {{"RANK", "8"}}), "RANK: found '8', expected a whole number from 0 to 7"},
      {with(kTorchrun, {{"RANK", "-1"}}), "RANK: found '-1'"},
      {with(kTorchrun, {{"RANK", "1 "}}), "RANK: found '1 '"},
      {with(kTorchrun, {{"MASTER_PORT", "65536"}}), "MASTER_PORT: found '65536'"},
      {with(kTorchrun, {{"MASTER_PORT", "99999999999"}}), "MASTER_PORT: found '99999999999'"},
      {with(kOpenMpi, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "5"}}), "from 1 to 4"},
      {without(kTorchrun, "MASTER_ADDR"), "write MASTER_ADDR=HOST_OF_RANK_0 MASTER_PORT=29500"},
      {with(kOpenMpi, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}}), "write mpirun -x MASTER_ADDR="},
      {with(kHydra, {{"MPI_LOCALNRANKS", "1"}}), "write mpiexec -genv MASTER_ADDR "},
      {without(kSlurm, "SLURM_STEP_NODELIST"), "write MASTER_ADDR=HOST_OF_RANK_0 srun"},
  };
  for (const Case& wrong : cases) {
    try {
      launch_of(wrong.variables);
      ADD_FAILURE() << "not refused: " << wrong.message;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(wrong.message));
    }
  }
}

TEST(LaunchEnvironment, FirstHostOfSlurmsLists) {
  EXPECT_EQ(first_host("a"), "a");
  EXPECT_EQ(first_host("a,b"), "a");
  EXPECT_EQ(first_host("node[01-04,07],other"), "node01");
  EXPECT_EQ(first_host("node[12]"), "node12");
  EXPECT_EQ(first_host("rack[2-3]node[5,9]-ib,z"), "rack2node5-ib");
  EXPECT_EQ(first_host("node["), "node");
  EXPECT_EQ(first_host(""), "");
}

}  // namespace
}  // namespace infinipipe
