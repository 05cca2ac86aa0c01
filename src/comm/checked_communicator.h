// A Communicator that proves on every message that both sides mean the same thing. Wraps any
// implementation; for tests and debugging, as the description travels with the payload.
#pragma once

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

template <class Payload>
struct CheckedMessage {
  MessageInfo info;
  Payload payload;
};

// receive() asserts that the message's description equals that of the posted receive.
template <class Payload>
class CheckedCommunicator final : public Communicator<Payload> {
 public:
  explicit CheckedCommunicator(std::unique_ptr<Communicator<CheckedMessage<Payload>>> inner)
      : inner_(std::move(inner)), expected_(static_cast<std::size_t>(inner_->stages()) * kFlows) {}

  StageId stage() const override { return inner_->stage(); }
  int stages() const override { return inner_->stages(); }

  void send(StageId to, Flow flow, const MessageInfo& info, Payload payload) override {
    INFINIPIPE_ASSERT(to.value() >= 0 && to.value() < stages() && to != stage(),
                      "a message to a stage that is not there");
    inner_->send(to, flow, info, {info, std::move(payload)});
  }
  void post_receive(StageId from, Flow flow, const MessageInfo& info) override {
    expected(from, flow).push_back(info);
    inner_->post_receive(from, flow, info);
  }
  Received<Payload> receive(StageId from, Flow flow) override {
    auto& posted = expected(from, flow);
    INFINIPIPE_ASSERT(!posted.empty(), "a receive that was not posted");
    auto message = inner_->receive(from, flow);
    const MessageInfo info = posted.front();
    posted.pop_front();
    INFINIPIPE_ASSERT(message.payload.info == info, std::string(to_string(flow)) + " from stage " +
                                                        std::to_string(from.value()) + " is " +
                                                        to_string(message.payload.info) +
                                                        ", expected " + to_string(info));
    return {std::move(message.payload.payload), message.arrived};
  }

  void all_reduce_sum(std::span<double> values) override { inner_->all_reduce_sum(values); }
  void barrier() override { inner_->barrier(); }
  void abort(StageFailure failure) noexcept override { inner_->abort(std::move(failure)); }
  bool aborted() const noexcept override { return inner_->aborted(); }
  void check() const override { inner_->check(); }
  void recover() override {
    for (auto& posted : expected_) posted.clear();
    inner_->recover();
  }

 private:
  std::deque<MessageInfo>& expected(StageId from, Flow flow) {
    return expected_[from.index() * kFlows + static_cast<std::size_t>(flow)];
  }

  std::unique_ptr<Communicator<CheckedMessage<Payload>>> inner_;
  std::vector<std::deque<MessageInfo>> expected_;  // posted and not received
};

}  // namespace infinipipe
