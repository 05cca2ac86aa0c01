// Tensors on their way to and from other ranks.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/intrusive_ptr.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "comm/collective.h"
#include "dist/lost_connection.h"

namespace c10d {
class Backend;
class Work;
}  // namespace c10d

namespace infinipipe {

// A rank as the member of a group.
struct Peer {
  c10d::Backend* group = nullptr;
  int member = 0;  // of the group
  int rank = 0;    // of all
};

// Used by one thread, except for interrupt(). An engine reports that a send is done only to who
// waits for it, and the sender must not wait: a thread of this object's own does, in the order of
// sending, and holds the tensors until then.
class Transfers final {
 public:
  using Receipt = c10::intrusive_ptr<c10d::Work>;

  // wait() throws Aborted while the failure is set. `who(rank)`: "rank 5 (host b)".
  Transfers(const FailureState& failure, std::function<std::string(int)> who);
  // Returns when all that was sent has been taken, or at once after a failure or a lost connection.
  ~Transfers();

  // Returns at once. Tensors to one member of a group arrive in order. `tensor` is contiguous and
  // must not change any more.
  void send(const Peer& to, const at::Tensor& tensor);
  // The same for who waits for it, and holds the tensor until then: one that is sent after a
  // message that nobody takes yet would otherwise be held as long as that.
  Receipt start_send(const Peer& to, const at::Tensor& tensor);
  // The next tensor from `from` goes into `buffer`, which is contiguous and of the same size.
  Receipt post(const Peer& from, const at::Tensor& buffer);
  // Sleeps until it is there, or has been sent.
  void wait(const Receipt& receipt, const Peer& from);
  // All four throw LostConnection, also if it was an earlier send that failed.

  // Any thread: makes who waits look at the failure.
  void interrupt();

 private:
  struct Sent {
    Receipt work;
    at::Tensor tensor;
    int rank;
  };
  struct Lost {
    int rank;
    std::string reason;
  };

  void wait_for_sends();
  void check_connections();  // with the lock held
  // What the engine's call returns; a failure is a lost connection.
  template <class Call>
  auto on_engine(int rank, const Call& call);

  const FailureState& failure_;
  std::function<std::string(int)> who_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Sent> sent_;     // oldest first; the front is being waited for
  Receipt received_;          // what wait() waits for
  std::optional<Lost> lost_;  // the first
  bool stopping_ = false;
  bool dropping_ = false;
  std::thread thread_;
};

}  // namespace infinipipe
