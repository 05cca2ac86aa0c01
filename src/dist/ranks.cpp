#include "dist/ranks.h"

#include <c10/util/Exception.h>

#include <chrono>
#include <condition_variable>
#include <sstream>
#include <thread>
#include <utility>

#include "dist/fault_injection.h"
#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

// The driver's word on how all watch each other, so that nobody is judged by two rules.
std::string watch_text(const Ranks::Options& options) {
  std::ostringstream text;
  text.precision(17);
  text << options.beat << ' ' << options.lost_after << ' ' << options.stalled_after;
  return text.str();
}

void take_watch(const std::string& text, Ranks::Options& options) {
  std::istringstream in(text);
  in >> options.beat >> options.lost_after >> options.stalled_after;
}

WorldOptions with_watch(const Ranks::Options& options) {
  WorldOptions world = options.world;
  world.word = watch_text(options);
  return world;
}

// Until there is a heartbeat nobody is missed, and a question to the store of a rank 0 that was
// stopped never returns. So the start has a time of its own, longer than what the others are
// waited for.
class StartLimit final {
 public:
  explicit StartLimit(const Ranks::Options& options)
      : thread_([this, &options] {
          std::unique_lock lock(mutex_);
          const std::chrono::duration<double> limit(2 * options.world.hello_seconds);
          if (changed_.wait_for(lock, limit, [this] { return over_; })) return;
          options.end("error: the start: rank 0 did not answer for " +
                      format_seconds(limit.count()) + "; look at its output");
        }) {}
  ~StartLimit() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  StartLimit(const StartLimit&) = delete;
  StartLimit& operator=(const StartLimit&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace

Ranks::Ranks(const Launch& launch, const Options& options)
    : options_(options), local_rank_(launch.local_rank), world_([&] {
        const StartLimit limit(options);
        return std::make_unique<World>(launch, with_watch(options));
      }()) {
  take_watch(world_->word(), options_);
  Heartbeat::Options beat;
  beat.rank = rank();
  beat.size = size();
  beat.beat = options_.beat;
  beat.lost_after = options_.lost_after;
  beat.stalled_after = options_.stalled_after;
  beat.name = [this](int which) { return where(which); };
  beat.end = options_.end;
  beat.asked_to_stop = options_.asked_to_stop;
  heartbeat_ = std::make_unique<Heartbeat>(world_->new_store_client(), beat);
  try {
    maybe_fail(rank(), -1, "start");
    world_->connect();
    maybe_fail(rank(), -1, "hello");
  } catch (const LostConnection& connection) {
    lost(connection);
  } catch (const std::exception& error) {  // the others must not wait for a rank that is gone
    // Of ranks that are asked to stop while they connect, each breaks the others' connections.
    if (options_.asked_to_stop()) options_.end("");
    end_with("hello", error.what());
  }
}

Ranks::Ranks(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size)
    : local_rank_(rank), world_(std::make_unique<World>(store, rank, size, WorldOptions{})) {
  world_->connect();
}

Ranks::~Ranks() = default;

std::string Ranks::where(int rank) const {
  const std::lock_guard lock(mutex_);
  if (!layout_) return world_->where(rank);
  return "rank " + std::to_string(rank) + " (" + layout_->name(rank) + ", host " +
         world_->facts(rank).host + ")";
}

void Ranks::set_layout(const RankLayout& layout) {
  const std::lock_guard lock(mutex_);
  layout_ = layout;
}

void Ranks::send(int to, const std::string& bytes) {
  try {
    world_->send(to, bytes);
  } catch (const LostConnection& connection) {
    lost(connection);
  }
}

std::string Ranks::receive(int from) {
  try {
    return world_->receive(from);
  } catch (const LostConnection& connection) {
    lost(connection);
  }
}

void Ranks::at(int step, const std::string& place) {
  step_.store(step);
  note(place);
  if (heartbeat_ != nullptr) maybe_fail(rank(), step, place);
}

void Ranks::at(const std::string& place) { at(step_.load(), place); }

void Ranks::note(const std::string& place) {
  if (heartbeat_ != nullptr) heartbeat_->at(step_.load(), place);
}

void Ranks::idle() { at(Heartbeat::kIdle); }

void Ranks::fail(const std::string& part, const std::string& what) { end_with(part, what); }

void Ranks::fail(const std::string& part, const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Aborted& aborted) {
    fail(aborted.failure());
    end_with(part, aborted.what());
  } catch (const LostConnection& connection) {
    lost(connection);
  } catch (const c10::Error& error) {
    end_with(part, error.what_without_backtrace());
  } catch (const std::exception& error) {
    end_with(part, error.what());
  } catch (...) {
    end_with(part, "an unknown exception");
  }
}

// Called where a stage's instruction failed. In a world without a heartbeat whoever waits for the
// stage hears of it by its exception.
void Ranks::fail(const StageFailure& failure) {
  if (heartbeat_ == nullptr) return;
  if (failure.lost_rank >= 0) heartbeat_->lost(failure.lost_rank);
  end_with(failure.where, failure.what);
}

void Ranks::finish() {
  if (heartbeat_ != nullptr) heartbeat_->finish();
}

void Ranks::end_with(const std::string& part, const std::string& what) {
  if (heartbeat_ != nullptr) heartbeat_->fail(part, what);
  throw RunError(part, what);
}

void Ranks::lost(const LostConnection& connection) {
  if (heartbeat_ != nullptr) heartbeat_->lost(connection.rank());
  throw connection;
}

}  // namespace infinipipe
