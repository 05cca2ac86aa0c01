// Communicator between the rank threads of one process: payloads are handed over, not copied.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "comm/channel.h"
#include "comm/collective.h"
#include "comm/communicator.h"
#include "comm/rank_layout.h"
#include "infinipipe/base/error.h"

namespace infinipipe {

// What the endpoints of one run share. Endpoints keep it alive.
template <class Payload>
class ThreadGroup final {
 public:
  explicit ThreadGroup(const RankLayout& layout)
      : layout_(layout), collective_(layout.size(), &failure_), recovery_(layout.size(), nullptr) {
    for (int rank = 0; rank < layout.size(); ++rank) {
      messages_.push_back(make_channels(static_cast<std::size_t>(layout.stages) * kFlows));
      pieces_.push_back(make_channels(static_cast<std::size_t>(layout.copies())));
    }
  }

  const RankLayout& layout() const { return layout_; }
  FailureState& failure() { return failure_; }
  Collective& collective() { return collective_; }
  // Of messages from a rank to its shard of another stage of its replica.
  Channel<Payload>& messages(int from, StageId to, Flow flow) {
    return *messages_[static_cast<std::size_t>(from)]
                     [to.index() * kFlows + static_cast<std::size_t>(flow)];
  }
  // Of pieces from a rank to another copy of its stage, whatever group they exchange in: both go
  // through their groups' exchanges in the same order.
  Channel<Payload>& pieces(int from, int to) {
    return *pieces_[static_cast<std::size_t>(from)][static_cast<std::size_t>(layout_.copy(to))];
  }

  void abort(StageFailure failure) {
    if (!failure_.set(std::move(failure))) return;
    for_each_channel([](Channel<Payload>& channel) { channel.wake(); });
    collective_.wake();
  }

  void recover(int rank) {
    recovery_.barrier(rank);  // from here on no rank waits anywhere
    if (rank == 0) {
      for_each_channel([](Channel<Payload>& channel) { channel.clear(); });
      collective_.reset();
      failure_.clear();
    }
    recovery_.barrier(rank);
  }

 private:
  using Channels = std::vector<std::unique_ptr<Channel<Payload>>>;

  Channels make_channels(std::size_t count) const {
    Channels channels;
    for (std::size_t i = 0; i < count; ++i)
      channels.push_back(std::make_unique<Channel<Payload>>(failure_));
    return channels;
  }
  template <class Visit>
  void for_each_channel(const Visit& visit) {
    for (const std::vector<Channels>* all : {&messages_, &pieces_})
      for (const Channels& of_rank : *all)
        for (const auto& channel : of_rank) visit(*channel);
  }

  RankLayout layout_;
  FailureState failure_;
  Collective collective_;
  Collective recovery_;             // works while a failure is set
  std::vector<Channels> messages_;  // by sender
  std::vector<Channels> pieces_;    // by sender
};

// Some copies of a stage; `rank` is this one, which is one of `ranks`.
template <class Payload>
class ThreadMembers final : public Group<Payload> {
 public:
  ThreadMembers(std::shared_ptr<ThreadGroup<Payload>> group, std::vector<int> ranks, int rank)
      : group_(std::move(group)),
        ranks_(std::move(ranks)),
        own_(static_cast<int>(std::find(ranks_.begin(), ranks_.end(), rank) - ranks_.begin())) {}

  int rank() const override { return own_; }
  int size() const override { return static_cast<int>(ranks_.size()); }
  std::vector<Payload> exchange(std::vector<Payload> give,
                                std::span<const std::int64_t> counts) override {
    INFINIPIPE_ASSERT(give.size() == counts.size() && std::ssize(give) == size(),
                      "an exchange needs one part for each member");
    for (int to = 0; to < size(); ++to)
      if (to != own_) group_->pieces(at(own_), at(to)).push(std::move(part(give, to)));
    for (int from = 0; from < size(); ++from)
      if (from != own_) part(give, from) = group_->pieces(at(from), at(own_)).pop().payload;
    return give;
  }

 private:
  int at(int member) const { return ranks_[static_cast<std::size_t>(member)]; }
  static Payload& part(std::vector<Payload>& parts, int member) {
    return parts[static_cast<std::size_t>(member)];
  }

  std::shared_ptr<ThreadGroup<Payload>> group_;
  std::vector<int> ranks_;
  int own_;
};

template <class Payload>
class ThreadCommunicator final : public Communicator<Payload> {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadGroup<Payload>> group, int rank)
      : group_(std::move(group)),
        rank_(rank),
        posted_(static_cast<std::size_t>(stages()) * kFlows, 0),
        copies_(group_, layout().copies_of(stage()), rank) {
    for (const int degree : layout().degrees())
      shards_.try_emplace(degree, group_, layout().shards_beside(rank, degree), rank);
  }

  StageId stage() const override { return layout().stage(rank_); }
  int stages() const override { return layout().stages; }
  int replica() const override { return layout().replica(rank_); }
  int shard() const override { return layout().shard(rank_); }
  Group<Payload>& copies() override { return copies_; }
  Group<Payload>& shards(int degree) override { return shards_.at(degree); }

  void send(StageId to, Flow flow, const MessageInfo&, Payload payload) override {
    group_->messages(rank_, to, flow).push(std::move(payload));
  }
  void post_receive(StageId from, Flow flow, const MessageInfo&) override { ++posted(from, flow); }
  Received<Payload> receive(StageId from, Flow flow) override {
    INFINIPIPE_ASSERT(posted(from, flow) > 0, "a receive that was not posted");
    --posted(from, flow);
    return group_->messages(layout().rank(replica(), from, shard()), stage(), flow).pop();
  }

  void all_reduce_sum(std::span<double> values) override {
    group_->collective().all_reduce_sum(rank_, values);
  }
  void barrier() override { group_->collective().barrier(rank_); }

  void abort(StageFailure failure) noexcept override { group_->abort(std::move(failure)); }
  bool aborted() const noexcept override { return group_->failure().is_set(); }
  void check() const override { group_->failure().check(); }
  void recover() override {
    std::fill(posted_.begin(), posted_.end(), 0);
    group_->recover(rank_);
  }

 private:
  const RankLayout& layout() const { return group_->layout(); }
  int& posted(StageId from, Flow flow) {
    return posted_[from.index() * kFlows + static_cast<std::size_t>(flow)];
  }

  std::shared_ptr<ThreadGroup<Payload>> group_;
  int rank_;
  std::vector<int> posted_;  // announced and not received, by stage and flow
  ThreadMembers<Payload> copies_;
  std::map<int, ThreadMembers<Payload>> shards_;  // by degree
};

// One endpoint per rank.
template <class Payload>
std::vector<std::unique_ptr<Communicator<Payload>>> make_thread_communicators(
    const RankLayout& layout) {
  auto group = std::make_shared<ThreadGroup<Payload>>(layout);
  std::vector<std::unique_ptr<Communicator<Payload>>> endpoints;
  for (int rank = 0; rank < layout.size(); ++rank)
    endpoints.push_back(std::make_unique<ThreadCommunicator<Payload>>(group, rank));
  return endpoints;
}

}  // namespace infinipipe
