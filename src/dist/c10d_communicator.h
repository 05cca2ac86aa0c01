// Communicator between processes, over any engine of LibTorch's c10d.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/rank_layout.h"
#include "dist/transfers.h"

namespace infinipipe {

struct CommunicatorOptions {
  at::ScalarType activations = at::kFloat;  // of activations and their gradients
  at::ScalarType parameters = at::kFloat;   // of Flow::kParameter
  at::Device device = at::kCPU;             // of what is received
  bool nccl = false;                        // tensors on GPUs go directly; else through the host
  // Ranks of one host write into each other's memory, where the system lets them; else over Gloo.
  bool direct_copies = true;
  bool check = false;  // a message's description travels with it and is asserted
  // Told of this rank's failure, on the thread that calls abort(); how others learn of it is the
  // callee's work.
  std::function<void(const StageFailure&)> on_failure = [](const StageFailure&) {};
};

// A group of these ranks, of which the caller is one, by a name that they all use. `host`: for
// tensors in host memory.
using MakeGroup = std::function<c10::intrusive_ptr<c10d::Backend>(
    const std::string& name, const std::vector<int>& ranks, bool host)>;

// One rank's endpoint. Messages flow between neighbouring stages, and whole parameters between the
// first stage and the last. What a stage receives has the shape [rows, columns] of its description;
// its memory is the caller's of post_receive(). Calls that block throw Aborted once abort() was
// called here, by whichever thread; another process's failure is not seen here, unless it ends and
// the call throws LostConnection. recover() throws RunError: a run of processes starts again.
class C10dCommunicator final : public Communicator<at::Tensor> {
 public:
  // All ranks make theirs at the same time. `who(rank)`: "rank 5 (host b)".
  C10dCommunicator(const RankLayout& layout, int rank, CommunicatorOptions options,
                   const MakeGroup& make, std::function<std::string(int)> who);
  ~C10dCommunicator() override;

  StageId stage() const override { return layout_.stage(rank_); }
  int stages() const override { return layout_.stages; }
  int replica() const override { return layout_.replica(rank_); }
  int shard() const override { return layout_.shard(rank_); }
  Group<at::Tensor>& copies() override { return *copies_; }
  Group<at::Tensor>& shards(int degree) override { return shards_.at(degree); }

  void send(StageId to, Flow flow, const MessageInfo& info, at::Tensor payload) override;
  void post_receive(StageId from, Flow flow, const MessageInfo& info) override;
  Received<at::Tensor> receive(StageId from, Flow flow) override;

  void all_reduce_sum(std::span<double> values) override;
  void barrier() override { all_reduce_sum({}); }

  void abort(StageFailure failure) noexcept override;
  bool aborted() const noexcept override { return failure_.is_set(); }
  void check() const override { failure_.check(); }
  void recover() override;

 private:
  struct Posted {
    MessageInfo info;
    at::Tensor buffer;
    Transfers::Receipt receipt;  // none while the description has to be seen first
  };
  // One direction between this rank and another.
  struct Link {
    c10::intrusive_ptr<c10d::Backend> group;
    Peer peer;
    std::deque<Posted> posted;
  };

  // Some copies of the stage. `group` is null where this rank is alone in it.
  class Members final : public Group<at::Tensor> {
   public:
    Members(C10dCommunicator& comm, std::vector<int> ranks,
            c10::intrusive_ptr<c10d::Backend> group);

    int rank() const override { return own_; }
    int size() const override { return static_cast<int>(ranks_.size()); }
    std::vector<at::Tensor> exchange(std::vector<at::Tensor> give,
                                     std::span<const std::int64_t> counts) override;

   private:
    void check(const std::vector<at::Tensor>& give, std::span<const std::int64_t> counts);
    Peer peer(int member) const {
      return {group_.get(), member, ranks_[static_cast<std::size_t>(member)]};
    }

    C10dCommunicator& comm_;
    std::vector<int> ranks_;
    c10::intrusive_ptr<c10d::Backend> group_;
    int own_;
    int exchanges_ = 0;  // begun
  };

  void make_groups(const MakeGroup& make);
  Members members(const MakeGroup& make, const std::string& name, const std::vector<int>& ranks);
  Link& link(bool sends, StageId other, Flow flow);
  Peer peer_of_all(int rank) const { return {all_.get(), rank, rank}; }
  at::ScalarType type(Flow flow) const;
  at::Tensor buffer(std::int64_t elements, at::ScalarType type) const;
  at::Tensor to_engine(const at::Tensor& tensor) const;

  using Description = std::array<std::int64_t, 5>;
  void send_description(const Peer& to, const Description& description);
  Description receive_description(const Peer& from);

  RankLayout layout_;
  int rank_;
  CommunicatorOptions options_;
  FailureState failure_;
  Link activations_in_, activations_out_, gradients_in_, gradients_out_, parameters_;
  c10::intrusive_ptr<c10d::Backend> all_;
  Transfers transfers_;
  std::optional<Members> copies_;
  std::map<int, Members> shards_;  // by degree
};

}  // namespace infinipipe
