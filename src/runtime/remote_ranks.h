// The ranks of other processes, as the driver sees them.
#pragma once

#include <memory>
#include <vector>

#include "runtime/process_job.h"

namespace infinipipe {

class Ranks;

// For one thread. Without other processes there are none, and every call does nothing. Each
// start_...() is followed by wait() before the next.
class RemoteRanks final {
 public:
  explicit RemoteRanks(Ranks* ranks);

  int size() const;  // they are ranks 1 to size()

  void start_making(const EngineOptions& options);
  void start_ending();
  void start_command(const Command& command, TimePoint origin);
  void start_job(const ProcessJob& job, const Json& arguments);

  // Their answers by rank, when all have come. Throws the first error, with its rank's name before
  // it, after all have answered.
  std::vector<Json> wait();
  // Those of a command. Events count from the origin that start_command() was given.
  std::vector<Reply> wait_for_replies();

  // Lets the others' serve() return: no more messages.
  void dismiss();

 private:
  void ask(int rank, const Json& message);
  void ask_all(const Json& message);

  Ranks* ranks_;
  RankLayout layout_;
  TimePoint origin_;
};

}  // namespace infinipipe
