#include "dist/heartbeat.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <utility>

#include "base/number_text.h"

namespace infinipipe {
namespace {

constexpr const char* kFailed = "heart/failed";  // the verdict
constexpr const char* kSaid = "heart/said";      // by the rank that prints it
constexpr const char* kSeen = "heart/seen";      // by how many ranks
constexpr const char* kEnd = "heart/end";        // the orderly one
constexpr const char* kBye = "heart/bye";        // how many have seen that
constexpr const char* kBroken = "the connection to it broke";
constexpr double kHold = 5;       // beats that rank 0 keeps the store for the others
constexpr Seconds kQuick = 0.02;  // between looks at what is about to come

std::string beat_key(int rank) { return "heart/beat/" + std::to_string(rank); }

std::string tenths(Seconds time) { return number_text(std::round(time * 10.0) / 10.0) + " s"; }

}  // namespace

std::string Heartbeat::text_of(const Beat& beat) {
  std::ostringstream text;
  text << beat.count << ' ' << beat.moves << ' ' << beat.step << ' ' << beat.done << ' '
       << beat.place;
  return text.str();
}

Heartbeat::Beat Heartbeat::beat_of(const std::string& text) {
  std::istringstream in(text);
  Beat beat;
  in >> beat.count >> beat.moves >> beat.step >> beat.done;
  in.get();
  std::getline(in, beat.place);
  return beat;
}

Heartbeat::Heartbeat(c10::intrusive_ptr<c10d::Store> own_client, Options options)
    : store_(std::move(own_client)),
      options_(std::move(options)),
      peers_(static_cast<std::size_t>(options_.size)),
      last_round_(Clock::now()),
      parent_(::getppid()) {
  own_.place = kIdle;
  pulse_ = std::thread([this] { pulse(); });
  watch_ = std::thread([this] { watch(); });
}

Heartbeat::~Heartbeat() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  pulse_.join();
  watch_.join();
}

void Heartbeat::at(int step, std::string place) {
  const std::lock_guard lock(mutex_);
  if (place.empty()) place = kIdle;
  if (place != kIdle) own_.step = step;
  own_.place = std::move(place);
  ++own_.moves;
}

void Heartbeat::fail(const std::string& where, const std::string& what) {
  int step = -1;
  {
    const std::lock_guard lock(mutex_);
    step = own_.step;
  }
  report({.line = failure_line(step, options_.rank, (where.empty() ? "" : where + ": ") + what)});
  await_end();
}

void Heartbeat::lost(int peer) {
  if (sleep(2 * options_.beat)) {
    report({.lost = peer, .line = lost_line(peer, {}, kBroken)});
  }
  await_end();
}

bool Heartbeat::finish() {
  std::unique_lock lock(mutex_);
  finishing_ = true;
  own_.done = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return over_; });
  return finished_;
}

void Heartbeat::report(Verdict verdict) {
  const std::lock_guard lock(mutex_);
  if (!wanted_.line.empty()) return;
  wanted_ = std::move(verdict);
  wanted_at_ = Clock::now();
  changed_.notify_all();
}

void Heartbeat::await_end() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ended_ || (over_ && !ending_); });
}

bool Heartbeat::sleep(Seconds time) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(time), [this] { return over_; });
  return !over_;
}

void Heartbeat::end_once(const std::string& line) {
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    over_ = true;
    ending_ = true;
  }
  options_.end(line);
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

std::string Heartbeat::failure_line(int step, int rank, const std::string& what) const {
  return "error: " + (step < 0 ? "" : "step " + std::to_string(step) + ": ") + options_.name(rank) +
         ": " + what + "; restart with --resume";
}

std::string Heartbeat::lost_line(int rank, const Beat& last, const std::string& why) const {
  return "error: " + (last.step < 0 ? "" : "step " + std::to_string(last.step) + ": ") + "lost " +
         options_.name(rank) + ", " + why + (last.count < 0 ? "" : "; last seen at " + last.place) +
         "; restart with --resume";
}

// ---- The thread with the store ----

void Heartbeat::pulse() {
  while (true) {
    try {
      round();
    } catch (const std::exception&) {
      store_has_gone();
    }
    std::unique_lock lock(mutex_);
    ++rounds_;
    const Seconds pause = finishing_ ? std::min(kQuick, options_.beat) : options_.beat;
    const bool had = finishing_;
    changed_.wait_for(lock, std::chrono::duration<double>(pause),
                      [&] { return over_ || !wanted_.line.empty() || finishing_ != had; });
    if (over_) return;
  }
}

bool Heartbeat::has(const std::string& key) { return store_->check({key}); }
std::string Heartbeat::value(const std::string& key) { return store_->get_to_str(key); }

// Looks again and again; the second thread sees that this one is alive.
bool Heartbeat::await(const std::function<bool()>& holds, Seconds limit) {
  const Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                   std::chrono::duration<double>(limit));
  while (!holds()) {
    if (Clock::now() >= end || !sleep(std::min(kQuick, options_.beat / 4))) return false;
    const std::lock_guard lock(mutex_);
    ++rounds_;
  }
  return true;
}

void Heartbeat::round() {
  const Clock::time_point now = Clock::now();
  stood_still_ = std::chrono::duration<double>(now - last_round_).count();
  last_round_ = now;
  // Beats that this rank missed to see since it did not run are not missing.
  const Seconds passed = std::min(stood_still_, 2 * options_.beat);
  Beat own;
  Verdict wanted;
  {
    const std::lock_guard lock(mutex_);
    ++own_.count;
    own = own_;
    wanted = wanted_;
  }
  store_->set(beat_key(options_.rank), text_of(own));
  peers_[static_cast<std::size_t>(options_.rank)] = {own, 0};
  if (has(kFailed)) return obey(value(kFailed), false);
  if (!wanted.line.empty()) {
    if (wanted.lost >= 0 && has(beat_key(wanted.lost))) {
      wanted.line = lost_line(wanted.lost, beat_of(value(beat_key(wanted.lost))), kBroken);
    }
    return accuse(wanted);
  }
  judge(passed);
  if (own.done) say_goodbye();
}

void Heartbeat::judge(Seconds passed) {
  const int first = options_.rank == 0 ? 1 : 0;
  const int last = options_.rank == 0 ? options_.size - 1 : 0;
  all_done_ = true;
  for (int rank = first; rank <= last; ++rank) {
    Peer& peer = peers_[static_cast<std::size_t>(rank)];
    Beat beat;
    if (peer.beat.count >= 0 || has(beat_key(rank))) beat = beat_of(value(beat_key(rank)));
    peer.silent = beat.count != peer.beat.count ? 0 : peer.silent + passed;
    peer.beat = std::move(beat);
    all_done_ &= peer.beat.done;
    if (peer.silent > options_.lost_after && !peer.beat.done) {
      return accuse({rank, lost_line(rank, peer.beat, "silent for " + tenths(peer.silent))});
    }
  }
  if (options_.rank == 0) judge_stalled(passed);
}

void Heartbeat::judge_stalled(Seconds passed) {
  long moves = 0;
  bool idle = true;
  for (const Peer& peer : peers_) {
    moves += peer.beat.moves;
    idle &= peer.beat.place == kIdle || peer.beat.done;
  }
  unmoved_ = moves != moves_seen_ || idle ? 0 : unmoved_ + passed;
  moves_seen_ = moves;
  if (options_.stalled_after <= 0 || unmoved_ <= options_.stalled_after) return;
  std::string places;
  for (int rank = 0; rank < options_.size; ++rank) {
    const Beat& beat = peers_[static_cast<std::size_t>(rank)].beat;
    places += (rank == 0 ? ": " : ", ") + options_.name(rank) + " at " + beat.place;
  }
  accuse({.line = "error: step " + std::to_string(peers_[0].beat.step) + ": nothing moved for " +
                  tenths(unmoved_) + places + "; restart with --resume"});
}

// Rank 0 lets all go once all are done, and keeps the store until they know.
void Heartbeat::say_goodbye() {
  if (options_.rank == 0) {
    if (!all_done_) return;
    store_->set(kEnd, std::string("1"));
    await([this] { return store_->add(kBye, 0) >= options_.size - 1; }, kHold * options_.beat);
  } else {
    if (!has(kEnd)) return;
    store_->add(kBye, 1);
  }
  const std::lock_guard lock(mutex_);
  if (over_) return;
  finished_ = true;
  over_ = true;
  changed_.notify_all();
}

void Heartbeat::accuse(const Verdict& verdict) {
  const std::string text = std::to_string(verdict.lost) + " " + verdict.line;
  const std::string first = store_->compareSet(kFailed, std::string(), text);
  obey(first, first == text);
}

void Heartbeat::obey(const std::string& text, bool writer) {
  const std::size_t space = text.find(' ');
  const int lost = std::stoi(text.substr(0, space));
  const std::string line = text.substr(space + 1);
  to_say_ = line;
  // The writer says it, or whoever is first to see that the writer has not come to it.
  const std::string own = std::to_string(options_.rank);
  const bool said = !writer && await([this] { return has(kSaid); }, 2 * options_.beat);
  const bool mine = !said && store_->compareSet(kSaid, std::string(), own) == own;
  if (!mine) to_say_ = "";
  if (options_.rank == 0) {
    // Without the store the others would take this rank for the lost one. Whoever is cut off with
    // the lost one, as all ranks of its host, will not come.
    int others = 0;
    for (int rank = 1; rank < options_.size; ++rank) {
      const Peer& peer = peers_[static_cast<std::size_t>(rank)];
      others += rank != lost && peer.silent <= options_.lost_after / 2 ? 1 : 0;
    }
    await([&] { return store_->add(kSeen, 0) >= others; }, kHold * options_.beat);
  } else {
    store_->add(kSeen, 1);
  }
  end_once(*to_say_);
}

void Heartbeat::store_has_gone() {
  {
    const std::lock_guard lock(mutex_);
    if (own_.done && options_.rank != 0) {  // and there is nothing more to wait for
      over_ = true;
      changed_.notify_all();
      return;
    }
  }
  if (to_say_) return end_once(*to_say_);
  const Beat own = peers_[static_cast<std::size_t>(options_.rank)].beat;
  const Seconds still =
      std::max(stood_still_, std::chrono::duration<double>(Clock::now() - last_round_).count());
  if (still > options_.lost_after) {
    return end_once(failure_line(
        own.step, options_.rank,
        "this process stood still for " + tenths(still) + ", and the others have gone"));
  }
  if (options_.rank == 0) {
    return end_once(failure_line(own.step, 0, "the launcher's store has gone"));
  }
  end_without_rank_zero(lost_line(0, peers_[0].beat, kBroken));
}

void Heartbeat::end_without_rank_zero(const std::string& line) {
  end_once(options_.asked_to_stop() ? std::string() : line);
}

// ---- The thread without ----

void Heartbeat::watch() {
  Clock::time_point last = Clock::now();
  long rounds = -1;
  Seconds stuck = 0;
  while (sleep(options_.beat)) {
    const Clock::time_point now = Clock::now();
    const Seconds passed =
        std::min(std::chrono::duration<double>(now - last).count(), 2 * options_.beat);
    last = now;
    std::string unheard;
    int step = -1;
    {
      const std::lock_guard lock(mutex_);
      stuck = rounds_ == rounds ? stuck + passed : 0;
      rounds = rounds_;
      unheard = wanted_.line;
      step = own_.step;
    }
    if (options_.with_parent && ::getppid() != parent_) {
      report({.line = failure_line(step, options_.rank, "the process that started it has gone")});
    }
    if (stuck > 2 * options_.beat && !unheard.empty()) return end_once(unheard);
    if (stuck > options_.lost_after) {
      if (options_.rank == 0)
        return end_once(failure_line(step, 0, "the launcher's store does not answer"));
      return end_without_rank_zero(lost_line(0, {.step = step}, "silent for " + tenths(stuck)));
    }
  }
}

}  // namespace infinipipe
