// Who started this process as one of many, read from the environment.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace infinipipe {

// `infinipipe launch`, whose run id no other run has.
inline constexpr const char* kOwnLauncher = "infinipipe launch";

// One process among `size`, and where they find each other.
struct Launch {
  std::string launcher;  // the command's name: "torchrun", "mpirun", ...
  int rank = 0;
  int size = 1;
  int local_rank = 0;           // among the processes of this host
  int local_size = 1;           // of this host; 0: unknown
  std::string address;          // of rank 0 (of the store); loopback where all are on this host
  int port = 0;                 // of the store
  bool store_is_there = false;  // the launcher serves the store: rank 0 is a client, too
  std::string key_prefix;       // keeps a restart's keys in such a store apart from those before
  int listen_fd = -1;           // rank 0's listening loopback socket, from the launcher; -1: none
  int restart = 0;              // how often the launcher has started all processes again
  // Equal on all processes of a run; empty: unknown. Of other launchers it may be another run's
  // too: torchrun's is "none" unless its user gives one.
  std::string run_id;

  // Whether nothing of the run leaves this host.
  bool one_host() const { return local_size == size; }
};

// Nothing where no launcher started this process or where it is alone. `variable` gives an
// environment variable's value. Launchers are tried in the order of docs/distributed.md; the first
// whose variables are all there counts, as one may run inside another. Pure.
// Throws InputError naming the variable that is no number or out of range, or the line to write
// where the launcher does not say on which host rank 0 is.
std::optional<Launch> find_launch(
    const std::function<std::optional<std::string>(const char*)>& variable);

// The first host of Slurm's list: "node01" of "node[01-04,07],other".
std::string first_host(const std::string& list);

}  // namespace infinipipe
