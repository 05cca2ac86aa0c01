#include "dist/c10d_communicator.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <chrono>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <utility>

#include "infinipipe/base/error.h"

namespace infinipipe {
namespace {

std::string to_string(const std::array<std::int64_t, 5>& description) {
  return infinipipe::to_string(MessageInfo{static_cast<int>(description[0]),
                                           PipelineId(description[1]), ChunkId(description[2]),
                                           description[3], description[4]});
}

std::array<std::int64_t, 5> describe(const MessageInfo& info) {
  return {info.step, info.pipeline.value(), info.chunk.value(), info.rows, info.columns};
}

}  // namespace

C10dCommunicator::C10dCommunicator(const RankLayout& layout, int rank, CommunicatorOptions options,
                                   const MakeGroup& make, std::function<std::string(int)> who)
    : layout_(layout),
      rank_(rank),
      options_(std::move(options)),
      transfers_(failure_, std::move(who)) {
  make_groups(make);
  all_reduce_sum({});  // whoever leaves at once leaves nobody behind who still waits to connect
}

C10dCommunicator::~C10dCommunicator() = default;

// Every rank makes those that it is in, in this order, so that no two wait for each other.
void C10dCommunicator::make_groups(const MakeGroup& make) {
  const int last = layout_.stages - 1;
  const auto pair = [&](const std::string& name, int low, int high, Link* at_low, Link* at_high) {
    if (rank_ != low && rank_ != high) return;
    Link& link = rank_ == low ? *at_low : *at_high;
    link.group = make(name, {low, high}, false);
    link.peer = {link.group.get(), rank_ == low ? 1 : 0, rank_ == low ? high : low};
  };
  for (const int first : layout_.copies_of(StageId(0))) {
    const int replica = layout_.replica(first);
    const int shard = layout_.shard(first);
    const std::string name = "pipeline" + std::to_string(layout_.copy(first)) + "/";
    const auto at = [&](int p) { return layout_.rank(replica, StageId(p), shard); };
    for (int p = 0; p < last; ++p) {
      pair(name + "activations" + std::to_string(p), at(p), at(p + 1), &activations_out_,
           &activations_in_);
      pair(name + "gradients" + std::to_string(p), at(p), at(p + 1), &gradients_in_,
           &gradients_out_);
    }
    if (last > 0) pair(name + "parameters", at(0), at(last), &parameters_, &parameters_);
  }
  copies_.emplace(
      members(make, "stage" + std::to_string(stage().value()), layout_.copies_of(stage())));
  for (const int degree : layout_.degrees()) {
    const std::vector<int> ranks = layout_.shards_beside(rank_, degree);
    const std::string name =
        "shards" + std::to_string(ranks.front()) + "of" + std::to_string(degree);
    shards_.emplace(degree, members(make, name, ranks));
  }
  std::vector<int> ranks;
  for (int r = 0; r < layout_.size(); ++r) ranks.push_back(r);
  all_ = make("all", ranks, true);
}

C10dCommunicator::Members C10dCommunicator::members(const MakeGroup& make, const std::string& name,
                                                    const std::vector<int>& ranks) {
  return {*this, ranks, ranks.size() > 1 ? make(name, ranks, false) : nullptr};
}

C10dCommunicator::Link& C10dCommunicator::link(bool sends, StageId other, Flow flow) {
  const int towards = other.value() - stage().value();
  const bool ends = std::abs(towards) == stages() - 1;
  Link* found = nullptr;
  if (flow == Flow::kParameter && ends) found = &parameters_;
  if (flow == Flow::kActivation && towards == (sends ? 1 : -1))
    found = sends ? &activations_out_ : &activations_in_;
  if (flow == Flow::kGradient && towards == (sends ? -1 : 1))
    found = sends ? &gradients_out_ : &gradients_in_;
  INFINIPIPE_ASSERT(found != nullptr && found->group,
                    std::string("no ") + infinipipe::to_string(flow) + " flows between stage " +
                        std::to_string(stage().value()) + " and stage " +
                        std::to_string(other.value()));
  return *found;
}

at::ScalarType C10dCommunicator::type(Flow flow) const {
  return flow == Flow::kParameter ? options_.parameters : options_.activations;
}

at::Tensor C10dCommunicator::buffer(std::int64_t elements, at::ScalarType type) const {
  return at::empty({elements},
                   at::TensorOptions(type).device(options_.nccl ? options_.device : at::kCPU));
}

at::Tensor C10dCommunicator::to_engine(const at::Tensor& tensor) const {
  return (options_.nccl ? tensor : tensor.to(at::kCPU)).contiguous();
}

void C10dCommunicator::send_description(const Peer& to, const Description& description) {
  at::Tensor numbers = at::empty({std::ssize(description)}, at::TensorOptions(at::kLong));
  std::copy(description.begin(), description.end(), numbers.mutable_data_ptr<std::int64_t>());
  const bool device = options_.nccl && to.group != all_.get();
  transfers_.send(to, device ? numbers.to(options_.device) : numbers);
}

C10dCommunicator::Description C10dCommunicator::receive_description(const Peer& from) {
  Description description;
  const bool device = options_.nccl && from.group != all_.get();
  at::Tensor numbers =
      at::empty({std::ssize(description)},
                at::TensorOptions(at::kLong).device(device ? options_.device : at::kCPU));
  transfers_.wait(transfers_.post(from, numbers), from);
  numbers = numbers.to(at::kCPU);
  std::copy_n(numbers.const_data_ptr<std::int64_t>(), description.size(), description.begin());
  return description;
}

void C10dCommunicator::send(StageId to, Flow flow, const MessageInfo& info, at::Tensor payload) {
  const Peer& peer = link(true, to, flow).peer;
  INFINIPIPE_ASSERT(
      payload.scalar_type() == type(flow) && payload.numel() == info.rows * info.columns,
      std::string("the payload of an ") + infinipipe::to_string(flow) + ", " +
          infinipipe::to_string(info) + ", has another size or dtype");
  if (options_.check) send_description(peer, describe(info));
  if (payload.numel() > 0) transfers_.send(peer, to_engine(payload));
}

void C10dCommunicator::post_receive(StageId from, Flow flow, const MessageInfo& info) {
  Link& source = link(false, from, flow);
  Posted posted{info, buffer(info.rows * info.columns, type(flow)), {}};
  // An engine ends the process when a message is larger than its buffer; so with checks a payload
  // is let in only once its description is known to be right.
  const bool empty = posted.buffer.numel() == 0;  // then it does not travel, as both sides know
  if (!options_.check && !empty) posted.receipt = transfers_.post(source.peer, posted.buffer);
  source.posted.push_back(std::move(posted));
}

Received<at::Tensor> C10dCommunicator::receive(StageId from, Flow flow) {
  Link& source = link(false, from, flow);
  INFINIPIPE_ASSERT(!source.posted.empty(), "a receive that was not posted");
  Posted posted = std::move(source.posted.front());
  source.posted.pop_front();
  if (options_.check) {
    const Description found = receive_description(source.peer);
    INFINIPIPE_ASSERT(found == describe(posted.info),
                      std::string(infinipipe::to_string(flow)) + " from stage " +
                          std::to_string(from.value()) + " is " + to_string(found) + ", expected " +
                          infinipipe::to_string(posted.info));
    if (posted.buffer.numel() > 0) posted.receipt = transfers_.post(source.peer, posted.buffer);
  }
  if (posted.receipt) transfers_.wait(posted.receipt, source.peer);
  const auto arrived = std::chrono::steady_clock::now();
  return {posted.buffer.view({posted.info.rows, posted.info.columns}).to(options_.device), arrived};
}

// All give to rank 0, which adds and gives back: a few numbers, whose time is that of two messages.
void C10dCommunicator::all_reduce_sum(std::span<double> values) {
  const std::int64_t count = std::ssize(values);
  const auto check_count = [&](int rank) {
    const std::int64_t theirs = receive_description(peer_of_all(rank))[0];
    INFINIPIPE_ASSERT(theirs == count, "ranks give different counts to a collective");
  };
  at::Tensor sum = at::empty({count}, at::TensorOptions(at::kDouble));
  double* sums = sum.mutable_data_ptr<double>();
  std::copy(values.begin(), values.end(), sums);
  if (rank_ != 0) {
    const Peer root = peer_of_all(0);
    if (options_.check) send_description(root, {count});
    transfers_.send(root, sum);
    sum = at::empty({count}, at::TensorOptions(at::kDouble));  // the other is on its way
    transfers_.wait(transfers_.post(root, sum), root);
    std::copy_n(sum.const_data_ptr<double>(), count, values.begin());
    return;
  }
  std::vector<at::Tensor> given;
  std::vector<Transfers::Receipt> receipts;
  for (int rank = 1; rank < layout_.size(); ++rank) {
    if (options_.check) check_count(rank);
    given.push_back(at::empty({count}, at::TensorOptions(at::kDouble)));
    receipts.push_back(transfers_.post(peer_of_all(rank), given.back()));
  }
  for (int rank = 1; rank < layout_.size(); ++rank) {
    const auto i = static_cast<std::size_t>(rank - 1);
    transfers_.wait(receipts[i], peer_of_all(rank));
    const double* terms = given[i].const_data_ptr<double>();
    for (std::int64_t v = 0; v < count; ++v) sums[v] += terms[v];
  }
  for (int rank = 1; rank < layout_.size(); ++rank) transfers_.send(peer_of_all(rank), sum);
  std::copy_n(sums, count, values.begin());
}

C10dCommunicator::Members::Members(C10dCommunicator& comm, std::vector<int> ranks,
                                   c10::intrusive_ptr<c10d::Backend> group)
    : comm_(comm), ranks_(std::move(ranks)), group_(std::move(group)) {
  const auto found = std::find(ranks_.begin(), ranks_.end(), comm.rank_);
  INFINIPIPE_ASSERT(found != ranks_.end(), "a rank is not one of its own group");
  own_ = static_cast<int>(found - ranks_.begin());
}

// Tells each other which exchange this is, and how much is in it.
void C10dCommunicator::Members::check(const std::vector<at::Tensor>& give,
                                      std::span<const std::int64_t> counts) {
  for (int to = 0; to < size(); ++to) {
    const at::Tensor& part = give[static_cast<std::size_t>(to)];
    INFINIPIPE_ASSERT(part.scalar_type() == give[0].scalar_type(), "parts of different dtypes");
    if (to != own_) comm_.send_description(peer(to), {exchanges_, part.numel()});
  }
  for (int from = 0; from < size(); ++from) {
    if (from == own_) continue;
    const Description found = comm_.receive_description(peer(from));
    const std::int64_t count = counts[static_cast<std::size_t>(from)];
    INFINIPIPE_ASSERT(found[0] == exchanges_ && found[1] == count,
                      "member " + std::to_string(from) + " gives " + std::to_string(found[1]) +
                          " elements in exchange " + std::to_string(found[0]) + ", expected " +
                          std::to_string(count) + " in " + std::to_string(exchanges_));
  }
}

std::vector<at::Tensor> C10dCommunicator::Members::exchange(std::vector<at::Tensor> give,
                                                            std::span<const std::int64_t> counts) {
  INFINIPIPE_ASSERT(give.size() == counts.size() && std::ssize(give) == size(),
                    "an exchange needs one part for each member");
  const auto index = [](int member) { return static_cast<std::size_t>(member); };
  const at::Device device = give[0].device();
  const at::ScalarType dtype = give[0].scalar_type();
  Transfers& transfers = comm_.transfers_;
  ++exchanges_;
  if (comm_.options_.check) check(give, counts);
  // Both sides know which parts are empty, and these do not travel.
  std::vector<at::Tensor> came(give.size());
  std::vector<Transfers::Receipt> receipts(give.size());
  const auto group = comm_.options_.nccl ? group_ : nullptr;
  if (group) group->startCoalescing();  // NCCL's sends and receives wait for each other otherwise
  for (int from = 0; from < size(); ++from) {
    if (from == own_) continue;
    came[index(from)] = comm_.buffer(counts[index(from)], dtype);
    if (counts[index(from)] > 0)
      receipts[index(from)] = transfers.post(peer(from), came[index(from)]);
  }
  std::vector<Transfers::Receipt> sent(give.size());
  for (int to = 0; to < size(); ++to) {
    at::Tensor& part = give[index(to)];
    if (to == own_ || part.numel() == 0) continue;
    part = comm_.to_engine(part);  // held until it is sent
    sent[index(to)] = transfers.start_send(peer(to), part);
  }
  if (group) {
    if (const auto all = group->endCoalescing()) transfers.wait(all, peer(own_));
  }
  for (int from = 0; from < size(); ++from) {
    if (from == own_) continue;
    if (!group && receipts[index(from)]) transfers.wait(receipts[index(from)], peer(from));
    came[index(from)] = came[index(from)].to(device);
  }
  // All have posted what they receive by now.
  for (int to = 0; to < size(); ++to)
    if (!group && sent[index(to)]) transfers.wait(sent[index(to)], peer(to));
  came[index(own_)] = std::move(give[index(own_)]);
  return came;
}

void C10dCommunicator::abort(StageFailure failure) noexcept {
  try {
    if (!failure_.set(failure)) return;
    transfers_.interrupt();
    options_.on_failure(failure);
  } catch (...) {  // the failure is set, which is what counts
  }
}

void C10dCommunicator::recover() {
  throw RunError("a run of several processes", "cannot go on after a failure", "",
                 "start it again with --resume");
}

}  // namespace infinipipe
