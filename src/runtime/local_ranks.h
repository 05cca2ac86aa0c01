// The ranks that live in this process, each on a thread of its own: all of an engine's, or one.
#pragma once

#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "comm/rank_layout.h"
#include "runtime/command.h"
#include "runtime/engine_options.h"
#include "runtime/stage_status.h"
#include "runtime/stage_thread.h"

namespace infinipipe {

// For one owner thread, except where it says otherwise.
class LocalRanks final {
 public:
  // One endpoint per rank of this process. Makes the weights; throws the first rank's error.
  LocalRanks(const EngineOptions& options,
             std::vector<std::unique_ptr<TensorCommunicator>> endpoints);

  std::size_t size() const { return threads_.size(); }
  const RankLayout& layout() const { return layout_; }
  int rank(std::size_t i) const { return ranks_[i]; }  // of the i-th, in the layout

  // Starts the command on all ranks; wait() returns when they are done. `command` must live until
  // then.
  void start(const Command& command, TimePoint origin);
  struct Outcome {
    Reply reply;
    std::exception_ptr thrown;  // null: it went well
  };
  std::vector<Outcome> wait();

  // After a command failed, for all ranks of the layout in one process: forgets the step.
  void recover();

  // What each rank does now; for any thread.
  std::vector<StageStatus> status() const;

  // The parameters of this process's ranks in model order with their moments. The ranks must be
  // idle. After writing weights or moments all ranks must run StateChanged.
  struct StateTensor {
    StageId stage;
    Parameter* parameter;
    at::Tensor exp_avg;
    at::Tensor exp_avg_sq;
  };
  std::vector<StateTensor> state();

  // Values that are to replace tensors once it is known that all can: keep_value() remembers one,
  // take_values() copies all and forgets them.
  void keep_value(const at::Tensor& of, at::Tensor value);
  void take_values();
  void forget_values() { values_.clear(); }

 private:
  void trim_pool(const std::vector<Outcome>& outcomes);

  RankLayout layout_;
  std::vector<int> ranks_;
  std::vector<std::unique_ptr<StageThread>> threads_;
  const Command* running_ = nullptr;
  std::vector<Reply> replies_;  // written by the ranks' threads while a command runs
  std::vector<std::pair<at::Tensor, at::Tensor>> values_;  // of, value
  double pool_keep_ = 0.0;      // free bytes that the pool may keep between steps
};

}  // namespace infinipipe
