// Small collectives between the rank threads of one process, and the failure that they share.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "comm/message.h"

namespace infinipipe {

// The first failure of a group of ranks. Thread-safe.
class FailureState final {
 public:
  // True if this was the first.
  bool set(StageFailure failure);
  bool is_set() const noexcept { return set_.load(std::memory_order_acquire); }
  // Throws Aborted if a failure is set.
  void check() const;
  void clear();

 private:
  std::atomic<bool> set_{false};
  mutable std::mutex mutex_;
  std::optional<StageFailure> failure_;
};

// A reusable meeting point. With a FailureState, waiters throw Aborted when it becomes set; without
// one, only the arrival of all ends a wait.
class Collective final {
 public:
  Collective(int ranks, const FailureState* failure);

  // values[i] becomes the sum over ranks 0, 1, ... in that order. Asserts equal counts.
  void all_reduce_sum(int rank, std::span<double> values);
  void barrier(int rank) { all_reduce_sum(rank, {}); }

  // Lets waiters look at the failure again.
  void wake();
  // Forgets arrivals that never completed. No rank may be waiting.
  void reset();

 private:
  void add_up();

  const FailureState* failure_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<double>> given_;  // by rank
  std::vector<double> sum_;                 // of the last complete round
  bool agreed_ = true;                      // on the count, in the last complete round
  std::size_t arrived_ = 0;
  std::uint64_t round_ = 0;
};

}  // namespace infinipipe
