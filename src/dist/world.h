// All processes of a run: who they are, and messages between them.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/rank_layout.h"
#include "dist/c10d_communicator.h"
#include "dist/gloo.h"
#include "dist/launch_environment.h"
#include "dist/lost_connection.h"
#include "dist/store_connection.h"
#include "dist/transfers.h"
#include "infinipipe/base/units.h"

namespace infinipipe {

// What a process tells the others about itself.
struct RankFacts {
  std::string host;
  int process = 0;     // its id there
  int processors = 0;  // that it may use
  Bytes memory = 0;    // that the ranks of its host share (base/machine_memory.h)
  std::string code_version;
  std::string torch_version;
  Seconds wall_clock = 0;  // since 1970, when it said hello
  std::string address;     // of its host, as that of rank 0 reaches it
};

// How many of the ranks run on that one's host, itself among them.
inline std::size_t ranks_beside(std::span<const RankFacts> ranks, const RankFacts& one) {
  return static_cast<std::size_t>(std::ranges::count(ranks, one.host, &RankFacts::host));
}

struct WorldOptions {
  Seconds hello_seconds = 300;    // how long to wait for the others at the start
  std::string code_version = {};  // all must have the same
  int threads = 0;                // that each rank will use; 0: unknown
  std::string word = {};          // rank 0's to all others, World::word()
  std::function<void(const std::string&)> warn = [](const std::string&) {};  // on rank 0
};

// One object per rank, used by one thread, except for new_store_client(). Every rank makes one; the
// constructor returns when all are there. It throws RunError, naming who did not come or is there
// twice, and InputError, naming the hosts, where they run different code. connect() lets them talk.
// Rank 0 serves the store, so its object is the last that ends.
class World final {
 public:
  World(const Launch& launch, WorldOptions options);
  // Ranks that are threads of one process and share a store.
  World(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, WorldOptions options);
  ~World();

  int rank() const { return rank_; }
  int size() const { return size_; }
  const RankFacts& facts(int rank) const { return facts_[static_cast<std::size_t>(rank)]; }
  const std::vector<RankFacts>& facts() const { return facts_; }  // by rank
  std::string where(int rank) const;                              // "rank 5 (host b)"

  // What rank 0 gave as WorldOptions::word.
  const std::string& word() const { return word_; }

  // Every rank calls it once, before all that follows; returns when all can talk. Throws RunError,
  // naming whom this rank does not reach, and LostConnection.
  void connect();

  // What `rank`'s steady clock shows more than rank 0's, to half of the fastest round trip. On
  // rank 0 alone.
  Seconds clock_offset(int rank) const { return clock_offsets_[static_cast<std::size_t>(rank)]; }

  // Bytes of any number, in the order of sending for each pair of ranks. send() returns at once;
  // receive() sleeps until they are there. Both throw LostConnection once any connection is lost,
  // and the bytes on their way with it.
  void send(int to, const std::string& bytes);
  std::string receive(int from);

  // A client of the store of its own, for the heartbeat, which must not wait for other calls. With
  // a store that was given, that one. Any thread. Who uses it includes c10d's Store.hpp.
  c10::intrusive_ptr<c10d::Store> new_store_client() const;

  // For the stages and replicas of the layout, which has as many ranks as there are. All ranks
  // call it, with the same arguments but for the callback, as often as they like. The World must
  // outlive it.
  std::unique_ptr<Communicator<at::Tensor>> communicator(const RankLayout& layout,
                                                         const CommunicatorOptions& options);

 private:
  void check_run(const std::string& run_id);
  void say_hello();
  void check_versions() const;
  void warn_of_few_processors() const;
  c10::intrusive_ptr<c10d::Backend> make_group(const GroupFactory& factory, const std::string& name,
                                               const std::vector<int>& ranks) const;
  bool share_a_host(const std::vector<int>& ranks) const;
  void meet();  // and compare clocks
  Peer control(int rank) const { return {control_.get(), rank, rank}; }

  int rank_;
  int size_;
  WorldOptions options_;
  StoreConnection connection_;
  std::vector<RankFacts> facts_;
  std::string word_;
  GroupFactory gloo_;
  c10::intrusive_ptr<c10d::Backend> control_;
  FailureState no_failure_;
  std::unique_ptr<Transfers> transfers_;
  std::vector<Seconds> clock_offsets_;
  int communicators_ = 0;  // made
};

}  // namespace infinipipe
