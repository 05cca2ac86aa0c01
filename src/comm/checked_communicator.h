// A Communicator that proves on every message that both sides mean the same thing. Wraps any
// implementation; for tests and debugging, as the description travels with the payload.
#pragma once

#include <deque>
#include <map>
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

// Asserts in exchange() that members mean the same call and the same number of elements.
template <class Payload>
class CheckedGroup final : public Group<Payload> {
 public:
  explicit CheckedGroup(Group<CheckedMessage<Payload>>& inner) : inner_(inner) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  std::vector<Payload> exchange(std::vector<Payload> give,
                                std::span<const std::int64_t> counts) override {
    // What a part is told of: which call of its giver, and how many elements its taker expects.
    ++exchanges_;
    std::vector<CheckedMessage<Payload>> told;
    for (Payload& part : give) {
      MessageInfo info;
      info.step = exchanges_;
      info.rows = elements(part);
      told.push_back({info, std::move(part)});
    }
    std::vector<CheckedMessage<Payload>> came = inner_.exchange(std::move(told), counts);
    std::vector<Payload> parts;
    for (std::size_t from = 0; from < came.size(); ++from) {
      INFINIPIPE_ASSERT(came[from].info.step == exchanges_ && came[from].info.rows == counts[from],
                        "member " + std::to_string(from) + " gives " +
                            std::to_string(came[from].info.rows) + " elements in exchange " +
                            std::to_string(came[from].info.step) + ", expected " +
                            std::to_string(counts[from]) + " in " + std::to_string(exchanges_));
      parts.push_back(std::move(came[from].payload));
    }
    return parts;
  }
  void recover() { exchanges_ = 0; }

 private:
  static std::int64_t elements(const Payload& part) {
    if constexpr (requires { part.numel(); }) return part.numel();
    return 1;
  }

  Group<CheckedMessage<Payload>>& inner_;
  int exchanges_ = 0;  // begun
};

// receive() asserts that the message's description equals that of the posted receive; its groups
// are CheckedGroups.
template <class Payload>
class CheckedCommunicator final : public Communicator<Payload> {
 public:
  explicit CheckedCommunicator(std::unique_ptr<Communicator<CheckedMessage<Payload>>> inner)
      : inner_(std::move(inner)),
        expected_(static_cast<std::size_t>(inner_->stages()) * kFlows),
        copies_(inner_->copies()) {}

  StageId stage() const override { return inner_->stage(); }
  int stages() const override { return inner_->stages(); }
  int replica() const override { return inner_->replica(); }
  int shard() const override { return inner_->shard(); }
  Group<Payload>& copies() override { return copies_; }
  Group<Payload>& shards(int degree) override {
    return shards_.try_emplace(degree, inner_->shards(degree)).first->second;
  }

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
    copies_.recover();
    for (auto& [degree, group] : shards_) group.recover();
    inner_->recover();
  }

 private:
  std::deque<MessageInfo>& expected(StageId from, Flow flow) {
    return expected_[from.index() * kFlows + static_cast<std::size_t>(flow)];
  }

  std::unique_ptr<Communicator<CheckedMessage<Payload>>> inner_;
  std::vector<std::deque<MessageInfo>> expected_;  // posted and not received
  CheckedGroup<Payload> copies_;
  std::map<int, CheckedGroup<Payload>> shards_;  // by degree, those that were asked for
};

}  // namespace infinipipe
