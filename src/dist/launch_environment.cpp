#include "dist/launch_environment.h"

#include <charconv>
#include <limits>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/launch_variables.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

constexpr int kMost = std::numeric_limits<int>::max();
constexpr int kPort = 29500;  // torch's own default
constexpr const char* kLoopback = "127.0.0.1";

using Variable = std::function<std::optional<std::string>(const char*)>;

class Environment {
 public:
  explicit Environment(const Variable& variable) : variable_(variable) {}

  // Empty variables count as absent.
  std::string text(const char* name) const { return variable_(name).value_or(""); }
  bool has(const char* name) const { return !text(name).empty(); }
  bool has_all(std::initializer_list<const char*> names) const {
    for (const char* name : names)
      if (!has(name)) return false;
    return true;
  }

  int number(const char* name, int low, int high) const {
    const std::string value = text(name);
    int found = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), found);
    if (error != std::errc() || end != value.data() + value.size() || found < low || found > high) {
      throw InputError("the environment variable " + std::string(name), "found '" + value + "'",
                       high == kMost ? "expected a whole number from " + std::to_string(low)
                                     : "expected a whole number from " + std::to_string(low) +
                                           " to " + std::to_string(high),
                       "start all processes with the same launcher, or unset it");
    }
    return found;
  }
  int number_or(const char* name, int fallback, int low, int high) const {
    return has(name) ? number(name, low, high) : fallback;
  }

 private:
  const Variable& variable_;
};

// What a launcher calls its variables. Empty: it has none such.
struct Launcher {
  const char* name;
  const char* rank;
  const char* size;
  const char* local_rank;
  const char* local_size;
  std::vector<const char*> needs;   // beside rank and size
  std::vector<const char*> job_id;  // equal on all ranks of a run
  const char* address_line;         // to write where the address is unknown
};

const std::vector<Launcher>& launchers() {
  static const std::vector<Launcher> all = {
      // Those who set these by hand often leave LOCAL_RANK out.
      {"torchrun",
       "RANK",
       "WORLD_SIZE",
       "LOCAL_RANK",
       "LOCAL_WORLD_SIZE",
       {},
       {"TORCHELASTIC_RUN_ID"},
       "MASTER_ADDR=HOST_OF_RANK_0 MASTER_PORT=29500 infinipipe train ..."},
      {"mpirun",
       "OMPI_COMM_WORLD_RANK",
       "OMPI_COMM_WORLD_SIZE",
       "OMPI_COMM_WORLD_LOCAL_RANK",
       "OMPI_COMM_WORLD_LOCAL_SIZE",
       {"OMPI_COMM_WORLD_LOCAL_RANK"},
       {"PMIX_NAMESPACE"},
       "mpirun -x MASTER_ADDR=HOST_OF_RANK_0 ... infinipipe train ..."},
      // srun --mpi=pmi2 sets the first two as well, but not the local rank.
      {"mpiexec",
       "PMI_RANK",
       "PMI_SIZE",
       "MPI_LOCALRANKID",
       "MPI_LOCALNRANKS",
       {"MPI_LOCALRANKID"},
       {},
       "mpiexec -genv MASTER_ADDR HOST_OF_RANK_0 ... infinipipe train ..."},
      // A batch script has SLURM_PROCID without being one of several tasks; a step has an id.
      {"srun",
       "SLURM_PROCID",
       "SLURM_STEP_NUM_TASKS",
       "SLURM_LOCALID",
       "",
       {"SLURM_LOCALID", "SLURM_STEP_ID"},
       {"SLURM_JOB_ID", "SLURM_STEP_ID"},
       "MASTER_ADDR=HOST_OF_RANK_0 srun ... infinipipe train ..."},
  };
  return all;
}

const Launcher* find_launcher(const Environment& environment) {
  for (const Launcher& launcher : launchers()) {
    bool complete = environment.has_all({launcher.rank, launcher.size});
    for (const char* name : launcher.needs) complete = complete && environment.has(name);
    if (complete) return &launcher;
  }
  return nullptr;
}

// The same on all ranks of a run, seldom the same for two runs; below the ports that systems give
// to outgoing connections.
int port_of(const std::string& run_id) {
  const std::string digits = hash_hex(run_id).substr(0, 8);
  return static_cast<int>(10000 + std::stoul(digits, nullptr, 16) % 20000);
}

}  // namespace

std::string first_host(const std::string& list) {
  std::string host;
  for (std::size_t i = 0; i < list.size() && list[i] != ','; ++i) {
    if (list[i] != '[') {
      host += list[i];
      continue;
    }
    const std::size_t end = list.find_first_of(",-]", i);
    host += list.substr(i + 1, end == std::string::npos ? end : end - i - 1);
    i = std::min(list.find(']', i), list.size());
  }
  return host;
}

std::optional<Launch> find_launch(const Variable& variable) {
  const Environment environment(variable);
  const Launcher* launcher = find_launcher(environment);
  if (launcher == nullptr) return std::nullopt;

  Launch launch;
  launch.launcher = launcher->name;
  launch.size = environment.number(launcher->size, 1, kMost);
  launch.rank = environment.number(launcher->rank, 0, launch.size - 1);
  if (launch.size == 1) return std::nullopt;
  launch.local_rank = environment.number_or(launcher->local_rank, 0, 0, launch.size - 1);
  launch.local_size = environment.number_or(launcher->local_size, 0, 1, launch.size);
  for (const char* name : launcher->job_id) {
    if (!launch.run_id.empty()) launch.run_id += '.';
    launch.run_id += environment.text(name);
  }

  const bool slurm = environment.has("SLURM_STEP_ID") && launch.launcher == "srun";
  if (slurm && environment.text("SLURM_STEP_NUM_NODES") == "1") launch.local_size = launch.size;
  if (environment.text(kLaunchVariable) == "1" && environment.has(kRunIdVariable)) {
    launch.launcher = kOwnLauncher;
    launch.run_id = environment.text(kRunIdVariable);
    launch.restart = environment.number_or(kRestartVariable, 0, 0, kMost);
    if (launch.rank == 0) launch.listen_fd = environment.number_or(kStoreVariable, -1, 0, kMost);
  } else if (launch.launcher == "torchrun") {
    launch.restart = environment.number_or("TORCHELASTIC_RESTART_COUNT", 0, 0, kMost);
    launch.store_is_there = environment.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
    if (launch.store_is_there) launch.key_prefix = "attempt" + std::to_string(launch.restart);
  }

  launch.address = environment.text("MASTER_ADDR");
  if (launch.one_host() && !launch.store_is_there) {
    launch.address = kLoopback;
  } else if (launch.address.empty() && slurm) {
    launch.address = first_host(environment.text("SLURM_STEP_NODELIST"));
  }
  if (launch.address.empty()) {
    throw InputError(launch.launcher,
                     "started " + std::to_string(launch.size) +
                         " processes, of which some may be on other hosts, without MASTER_ADDR",
                     "expected the host of rank 0", "write " + std::string(launcher->address_line));
  }
  // torchrun's run id is "none" unless its user gives one, and its port always in MASTER_PORT.
  const bool hashed = launch.launcher != "torchrun" && !launch.run_id.empty();
  launch.port =
      environment.number_or("MASTER_PORT", hashed ? port_of(launch.run_id) : kPort, 1, 65535);
  return launch;
}

}  // namespace infinipipe
