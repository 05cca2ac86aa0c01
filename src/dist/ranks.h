// One process's place among the processes of a run: the world that they share, and the heartbeat
// that watches over them.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "comm/message.h"
#include "comm/rank_layout.h"
#include "dist/heartbeat.h"
#include "dist/launch_environment.h"
#include "dist/world.h"

namespace infinipipe {

// Rank 0 is the driver, the others serve it. What goes wrong between processes is nobody's to
// handle: every call below that fails ends the process, with one line that names the rank at fault,
// and lets the others end too. Thread-safe, but for send() and receive().
class Ranks final {
 public:
  struct Options {
    WorldOptions world;
    Seconds beat = 1.0;
    Seconds lost_after = 15.0;
    Seconds stalled_after = 0.0;  // 0: never
    // Prints the line, unless it is empty, and ends the process.
    std::function<void(const std::string& line)> end;
    // Called when another rank's process was asked to stop, as by a signal to all.
    std::function<void()> stop_was_asked = [] {};
    std::function<bool()> asked_to_stop = [] { return false; };  // Heartbeat::Options
  };

  // Waits for all ranks. Throws what World's constructor throws; from there on the heartbeat
  // watches.
  Ranks(const Launch& launch, const Options& options);
  // Of ranks that are threads of one process: nothing watches, and what fails is thrown (RunError).
  Ranks(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size);
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int rank() const { return world_->rank(); }
  int size() const { return world_->size(); }
  int local_rank() const { return local_rank_; }  // among those of this host
  World& world() { return *world_; }
  const World& world() const { return *world_; }
  // "rank 2 (stage 1, host b)"; the stage once a layout was given. Any thread.
  std::string where(int rank) const;
  void set_layout(const RankLayout& layout);

  // World::send() and receive(), for the process's main thread.
  void send(int to, const std::string& bytes);
  std::string receive(int from);

  // What this rank does now, for messages. Throws what fault injection wants.
  void at(int step, const std::string& place);
  void at(const std::string& place);  // of the same step
  // The same, without the fault.
  void note(const std::string& place);
  // It waits to be told.
  void idle();

  // This rank cannot go on: `what` was wrong with `part` of the work. The line names rank and step.
  [[noreturn]] void fail(const std::string& part, const std::string& what);
  [[noreturn]] void fail(const std::string& part, const std::exception_ptr& thrown);
  void fail(const StageFailure& failure);  // returns where nothing watches

  void stop_was_asked() { options_.stop_was_asked(); }

  // The orderly end, for each rank: from here on nobody is missed.
  void finish();

 private:
  [[noreturn]] void end_with(const std::string& part, const std::string& what);
  [[noreturn]] void lost(const LostConnection& connection);

  Options options_;
  int local_rank_ = 0;
  std::unique_ptr<World> world_;
  std::unique_ptr<Heartbeat> heartbeat_;  // null where ranks are threads
  std::atomic<int> step_{0};
  mutable std::mutex mutex_;
  std::optional<RankLayout> layout_;
};

// What the processes said of themselves, by rank; nothing where there is one.
inline std::span<const RankFacts> facts_of(const Ranks* ranks) {
  if (ranks == nullptr) return {};
  return ranks->world().facts();
}

}  // namespace infinipipe
