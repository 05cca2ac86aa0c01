#include "comm/collective.h"

#include <algorithm>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {

bool FailureState::set(StageFailure failure) {
  const std::lock_guard lock(mutex_);
  if (failure_) return false;
  failure_ = std::move(failure);
  set_.store(true, std::memory_order_release);
  return true;
}

void FailureState::check() const {
  if (!is_set()) return;
  const std::lock_guard lock(mutex_);
  if (failure_) throw Aborted(*failure_);
}

void FailureState::clear() {
  const std::lock_guard lock(mutex_);
  failure_.reset();
  set_.store(false, std::memory_order_release);
}

Collective::Collective(int ranks, const FailureState* failure)
    : failure_(failure), given_(static_cast<std::size_t>(ranks)) {}

void Collective::all_reduce_sum(int rank, std::span<double> values) {
  std::unique_lock lock(mutex_);
  if (failure_ != nullptr) failure_->check();
  given_[static_cast<std::size_t>(rank)].assign(values.begin(), values.end());
  const std::uint64_t round = round_;
  if (++arrived_ == given_.size()) {
    arrived_ = 0;
    ++round_;
    add_up();
    changed_.notify_all();
  } else {
    changed_.wait(lock,
                  [&] { return round_ != round || (failure_ != nullptr && failure_->is_set()); });
    if (round_ == round) failure_->check();
  }
  // The next round cannot complete before this rank arrives again: both are still this round's.
  INFINIPIPE_ASSERT(agreed_, "ranks give different counts to a collective");
  std::copy(sum_.begin(), sum_.end(), values.begin());
}

void Collective::add_up() {
  sum_ = given_[0];
  agreed_ = true;
  for (std::size_t p = 1; p < given_.size(); ++p) {
    agreed_ = agreed_ && given_[p].size() == sum_.size();
    for (std::size_t i = 0; agreed_ && i < sum_.size(); ++i) sum_[i] += given_[p][i];
  }
}

void Collective::wake() {
  const std::lock_guard lock(mutex_);
  changed_.notify_all();
}

void Collective::reset() {
  const std::lock_guard lock(mutex_);
  arrived_ = 0;
}

}  // namespace infinipipe
