#include "dist/transfers.h"

#include <chrono>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <utility>
#include <vector>

namespace infinipipe {
namespace {

// Engines close a connection for good when time is up, and blame whoever was waited for. So it
// never is: who is lost is for the heartbeat to say.
constexpr std::chrono::hours kNever{24 * 365};

constexpr int kTag = 0;  // one group per flow makes the order, as NCCL has no tags

// NCCL's own threads hold a tensor until it is sent.
bool holds_tensors(const c10d::Backend& group) { return group.getBackendName() == "nccl"; }

}  // namespace

Transfers::Transfers(const FailureState& failure, std::function<std::string(int)> who)
    : failure_(failure), who_(std::move(who)), thread_([this] { wait_for_sends(); }) {}

Transfers::~Transfers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropping_ = failure_.is_set() || lost_;
    if (dropping_ && !sent_.empty()) sent_.front().work->abort();
  }
  changed_.notify_all();
  thread_.join();
}

template <class Call>
auto Transfers::on_engine(int rank, const Call& call) {
  try {
    return call();
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    if (!lost_) lost_ = Lost{rank, error.what()};
    check_connections();
    throw;
  }
}

void Transfers::check_connections() {
  if (lost_) throw LostConnection(lost_->rank, who_(lost_->rank), lost_->reason);
}

Transfers::Receipt Transfers::start_send(const Peer& to, const at::Tensor& tensor) {
  {
    const std::lock_guard lock(mutex_);
    check_connections();
  }
  std::vector<at::Tensor> tensors = {tensor};
  return on_engine(to.rank, [&] { return to.group->send(tensors, to.member, kTag); });
}

void Transfers::send(const Peer& to, const at::Tensor& tensor) {
  Receipt work = start_send(to, tensor);
  if (holds_tensors(*to.group)) return;
  {
    const std::lock_guard lock(mutex_);
    sent_.push_back({std::move(work), tensor, to.rank});
  }
  changed_.notify_all();
}

Transfers::Receipt Transfers::post(const Peer& from, const at::Tensor& buffer) {
  {
    const std::lock_guard lock(mutex_);
    check_connections();
  }
  std::vector<at::Tensor> tensors = {buffer};
  return on_engine(from.rank, [&] { return from.group->recv(tensors, from.member, kTag); });
}

void Transfers::wait(const Receipt& receipt, const Peer& from) {
  {
    const std::lock_guard lock(mutex_);
    failure_.check();
    check_connections();
    received_ = receipt;
  }
  bool there = false;
  std::string reason = "the wait was ended";
  try {
    there = receipt->wait(kNever);
  } catch (const std::exception& error) {
    reason = error.what();
  }
  const std::lock_guard lock(mutex_);
  received_.reset();
  failure_.check();
  if (!there && !lost_) lost_ = Lost{from.rank, reason};
  check_connections();
}

void Transfers::interrupt() {
  const std::lock_guard lock(mutex_);
  if (received_) received_->abort();
}

void Transfers::wait_for_sends() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || !sent_.empty(); });
    if (sent_.empty() || dropping_) return;
    const Receipt work = sent_.front().work;
    lock.unlock();
    std::optional<std::string> reason;
    try {
      work->wait(kNever);
    } catch (const std::exception& error) {
      reason = error.what();
    }
    lock.lock();
    if (dropping_) return;
    if (reason) {
      if (!lost_) lost_ = Lost{sent_.front().rank, *reason};
      dropping_ = stopping_;
      if (received_) received_->abort();  // its waiter tells of the lost connection
    }
    Sent done = std::move(sent_.front());
    sent_.pop_front();
    lock.unlock();
    done = {};  // freeing a large tensor takes time
    lock.lock();
  }
}

}  // namespace infinipipe
