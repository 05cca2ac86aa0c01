// An ordered channel between two threads.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "comm/collective.h"
#include "comm/communicator.h"

namespace infinipipe {

// Unbounded: push never blocks. How much can wait is bounded by the plan (a stage runs ahead of the
// next by its warm-up at most). One thread pushes, one pops.
template <class Payload>
class Channel final {
 public:
  explicit Channel(const FailureState& failure) : failure_(failure) {}

  void push(Payload payload) {
    {
      const std::lock_guard lock(mutex_);
      messages_.push_back({std::move(payload), std::chrono::steady_clock::now()});
    }
    arrived_.notify_one();
  }

  // Blocks for the oldest message. Throws Aborted once the failure is set, even if messages wait.
  Received<Payload> pop() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return !messages_.empty() || failure_.is_set(); });
    failure_.check();
    Received<Payload> message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }

  // Lets a waiter look at the failure again.
  void wake() {
    const std::lock_guard lock(mutex_);
    arrived_.notify_all();
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    messages_.clear();
  }

 private:
  const FailureState& failure_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Received<Payload>> messages_;
};

}  // namespace infinipipe
