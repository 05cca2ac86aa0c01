// The judge of life: which rank of a run has died, hangs or failed, the same answer on every rank.
#pragma once

#include <c10/util/intrusive_ptr.h>
#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "infinipipe/base/units.h"

namespace infinipipe {

// Each rank has one, with a thread that writes a beat into the store of the run, whatever the rank
// itself waits for. Rank 0 judges all others, they judge rank 0, each by beats that it has seen to
// change on its own steady clock; time in which the judge itself did not run does not count. The
// first verdict stands, and every rank ends by it: a rank that wakes up later, too.
//
// A second thread notices that the store no longer answers: a rank 0 that was stopped keeps
// connections open, so a question to its store never returns.
class Heartbeat final {
 public:
  struct Options {
    int rank = 0;
    int size = 1;
    Seconds beat = 1.0;
    Seconds lost_after = 15.0;      // without a beat; several times `beat`
    Seconds stalled_after = 600.0;  // in which no rank moved; 0: never
    bool with_parent = true;        // end when the process that started this one has gone
    // "rank 5 (stage 2, host b)"
    std::function<std::string(int rank)> name = [](int which) {
      return "rank " + std::to_string(which);
    };
    // Must end the process, after it has printed `line` unless that is empty: one rank says the
    // verdict, the others end in silence (all say it where rank 0 has gone, with the store). Called
    // once, on any thread.
    std::function<void(const std::string& line)> end;
    // Whether this process was asked to stop, as a launcher asks all that are left when a rank has
    // ended. It blames nobody then for having gone: who asked knows why. Any thread.
    std::function<bool()> asked_to_stop = [] { return false; };
  };

  // `own_client`: of the run's store, for this object alone, since a call may block the client.
  // Ranks that are threads may share one HashStore.
  Heartbeat(c10::intrusive_ptr<c10d::Store> own_client, Options options);
  // Judges nobody any more and tells nobody: the others will miss this rank unless finish() was
  // called.
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  // What this rank does now: "F0.2", "optimizer". Empty, or kIdle: it waits to be told, and `step`
  // does not count. Every call is a sign that the run moves. Cheap; any thread.
  void at(int step, std::string place);
  // A run in which all are idle is not stalled.
  static constexpr const char* kIdle = "idle";

  // This rank failed: it is the verdict unless there is one. Returns after end() was called. Any
  // thread.
  void fail(const std::string& where, const std::string& what);
  // A connection to `peer` broke, perhaps since it ends by a verdict, so waits for that; after two
  // beats without one it is lost. Returns after end() was called. Any thread.
  void lost(int peer);

  // The orderly end, on every rank: waits for the others, after which nobody is judged any more.
  // False where the run did not end so: end() was called, or rank 0 has gone after this rank was
  // done. The store must live until it has returned on rank 0.
  bool finish();

 private:
  using Clock = std::chrono::steady_clock;

  // What a rank says of itself.
  struct Beat {
    long count = -1;  // -1: none was seen
    long moves = 0;
    int step = -1;
    bool done = false;
    std::string place{};
  };
  // A rank as its judge sees it.
  struct Peer {
    Beat beat;
    Seconds silent = 0;
  };
  struct Verdict {
    int lost = -1;  // the rank that cannot see it; -1: all can
    std::string line;
  };

  static std::string text_of(const Beat& beat);
  static Beat beat_of(const std::string& text);

  void pulse();  // the thread with the store
  void round();
  void judge(Seconds passed);
  void judge_stalled(Seconds passed);
  void say_goodbye();
  void accuse(const Verdict& verdict);
  void obey(const std::string& text, bool writer);
  void store_has_gone();
  bool has(const std::string& key);
  std::string value(const std::string& key);
  bool await(const std::function<bool()>& holds, Seconds limit);

  void watch();  // the thread without
  void end_once(const std::string& line);
  void report(Verdict verdict);
  void await_end();
  bool sleep(Seconds time);  // false: it is over
  void end_without_rank_zero(const std::string& line);
  std::string lost_line(int rank, const Beat& last, const std::string& why) const;
  std::string failure_line(int step, int rank, const std::string& what) const;

  c10::intrusive_ptr<c10d::Store> store_;
  Options options_;

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  Beat own_{.count = 0};
  Verdict wanted_;  // this rank's own; line empty: none
  Clock::time_point wanted_at_;
  long rounds_ = 0;  // that came to their end
  bool finishing_ = false;
  bool finished_ = false;
  bool over_ = false;    // nothing is left to do but perhaps end()
  bool ending_ = false;  // end() is called
  bool ended_ = false;   // and has returned

  // Of the thread with the store.
  std::vector<Peer> peers_;
  Clock::time_point last_round_;
  Seconds stood_still_ = 0;  // between the last two rounds
  long moves_seen_ = -1;
  Seconds unmoved_ = 0;
  bool all_done_ = false;
  std::optional<std::string> to_say_;  // of the verdict, once there is one

  pid_t parent_;
  std::thread pulse_;
  std::thread watch_;
};

}  // namespace infinipipe
