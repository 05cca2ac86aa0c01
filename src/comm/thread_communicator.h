// Communicator between the stage threads of one process: payloads are handed over, not copied.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "comm/channel.h"
#include "comm/collective.h"
#include "comm/communicator.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

// What the endpoints of one group share. Endpoints keep it alive.
template <class Payload>
class ThreadGroup final {
 public:
  explicit ThreadGroup(int stages)
      : stages_(stages), collective_(stages, &failure_), recovery_(stages, nullptr) {
    const auto count = static_cast<std::size_t>(stages) * static_cast<std::size_t>(stages) * kFlows;
    channels_.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
      channels_.push_back(std::make_unique<Channel<Payload>>(failure_));
  }

  int stages() const { return stages_; }
  FailureState& failure() { return failure_; }
  Collective& collective() { return collective_; }
  Channel<Payload>& channel(StageId from, StageId to, Flow flow) {
    const auto stages = static_cast<std::size_t>(stages_);
    return *channels_[(from.index() * stages + to.index()) * kFlows +
                      static_cast<std::size_t>(flow)];
  }

  void abort(StageFailure failure) {
    if (!failure_.set(std::move(failure))) return;
    for (auto& channel : channels_) channel->wake();
    collective_.wake();
  }

  void recover(StageId stage) {
    recovery_.barrier(stage);  // from here on no stage waits anywhere
    if (stage == StageId(0)) {
      for (auto& channel : channels_) channel->clear();
      collective_.reset();
      failure_.clear();
    }
    recovery_.barrier(stage);
  }

 private:
  int stages_;
  FailureState failure_;
  Collective collective_;
  Collective recovery_;  // works while a failure is set
  std::vector<std::unique_ptr<Channel<Payload>>> channels_;
};

template <class Payload>
class ThreadCommunicator final : public Communicator<Payload> {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadGroup<Payload>> group, StageId stage)
      : group_(std::move(group)),
        stage_(stage),
        posted_(static_cast<std::size_t>(group_->stages()) * kFlows, 0) {}

  StageId stage() const override { return stage_; }
  int stages() const override { return group_->stages(); }

  void send(StageId to, Flow flow, const MessageInfo&, Payload payload) override {
    group_->channel(stage_, to, flow).push(std::move(payload));
  }
  void post_receive(StageId from, Flow flow, const MessageInfo&) override { ++posted(from, flow); }
  Received<Payload> receive(StageId from, Flow flow) override {
    INFINIPIPE_ASSERT(posted(from, flow) > 0, "a receive that was not posted");
    --posted(from, flow);
    return group_->channel(from, stage_, flow).pop();
  }

  void all_reduce_sum(std::span<double> values) override {
    group_->collective().all_reduce_sum(stage_, values);
  }
  void barrier() override { group_->collective().barrier(stage_); }

  void abort(StageFailure failure) noexcept override { group_->abort(std::move(failure)); }
  bool aborted() const noexcept override { return group_->failure().is_set(); }
  void check() const override { group_->failure().check(); }
  void recover() override {
    std::fill(posted_.begin(), posted_.end(), 0);
    group_->recover(stage_);
  }

 private:
  int& posted(StageId from, Flow flow) {
    return posted_[from.index() * kFlows + static_cast<std::size_t>(flow)];
  }

  std::shared_ptr<ThreadGroup<Payload>> group_;
  StageId stage_;
  std::vector<int> posted_;  // announced and not received, by stage and flow
};

// One endpoint per stage.
template <class Payload>
std::vector<std::unique_ptr<Communicator<Payload>>> make_thread_communicators(int stages) {
  auto group = std::make_shared<ThreadGroup<Payload>>(stages);
  std::vector<std::unique_ptr<Communicator<Payload>>> endpoints;
  for (int p = 0; p < stages; ++p)
    endpoints.push_back(std::make_unique<ThreadCommunicator<Payload>>(group, StageId(p)));
  return endpoints;
}

}  // namespace infinipipe
