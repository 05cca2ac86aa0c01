// The seam between stages. One object per rank, which is one shard of one stage of one replica
// (rank_layout.h); the payload is whatever the runtime computes with (tensors), so that this module
// needs no tensor library. Implementations: threads of one process (thread_communicator.h) and
// processes (dist/c10d_communicator.h). What a message is follows from the plan on both sides, and
// nothing else assumes a shared address space.
#pragma once

#include <chrono>
#include <span>

#include "comm/group.h"
#include "comm/message.h"
#include "infinipipe/base/ids.h"

namespace infinipipe {

template <class Payload>
struct Received {
  Payload payload;
  std::chrono::steady_clock::time_point arrived;  // on the receiver's clock
};

// Used by the one thread that runs the stage, except for abort() and aborted(), which any thread
// may call. Calls that block throw Aborted once any rank has called abort().
template <class Payload>
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual StageId stage() const = 0;
  virtual int stages() const = 0;
  virtual int replica() const { return 0; }
  virtual int shard() const { return 0; }
  // The ranks that hold this stage's weights: its shards in all replicas (RankLayout::copies).
  // Messages below go to the same shard of another stage of the own replica.
  virtual Group<Payload>& copies() = 0;
  // `degree` neighbouring shards of this stage, this rank among them; `degree` divides the shards.
  virtual Group<Payload>& shards(int degree) = 0;

  // Hands the payload over and returns at once, whatever the receiver does. Messages of one flow to
  // one stage arrive in the order in which they were sent. The sender must not change the payload
  // afterwards.
  virtual void send(StageId to, Flow flow, const MessageInfo& info, Payload payload) = 0;

  // Announces the next message of that flow, ahead of need; receive() takes the oldest announced.
  virtual void post_receive(StageId from, Flow flow, const MessageInfo& info) = 0;
  // Blocks until that message is there. Asserts that a receive was posted.
  virtual Received<Payload> receive(StageId from, Flow flow) = 0;

  // values[i] becomes the sum over all ranks, added in rank order on every rank: the same bits
  // everywhere and in every run. All ranks must call it with equally many values.
  virtual void all_reduce_sum(std::span<double> values) = 0;
  // Returns when all ranks have called it.
  virtual void barrier() = 0;

  // Wakes all ranks with the failure. The first one counts; later ones are dropped.
  virtual void abort(StageFailure failure) noexcept = 0;
  virtual bool aborted() const noexcept = 0;
  // Throws Aborted with the first failure if there is one.
  virtual void check() const = 0;

  // Called by all ranks after an abort: drops all messages and posted receives and forgets the
  // failure. Returns when all ranks have called it.
  virtual void recover() = 0;
};

}  // namespace infinipipe
