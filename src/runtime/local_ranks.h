// The ranks that live in this process, each on a thread of its own: all of an engine's, or one.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "comm/rank_layout.h"
#include "runtime/command.h"
#include "runtime/engine_options.h"
#include "runtime/stage_status.h"
#include "runtime/stage_thread.h"

namespace infinipipe {

// Which of its machine's ranks the i-th one of this process is: ranks share out GPUs by it.
std::size_t place_on_machine(const EngineOptions& options, std::size_t i);

// For one owner thread, except where it says otherwise.
class LocalRanks final {
 public:
  // One endpoint per rank of this process. Makes the weights; throws the first rank's error.
  LocalRanks(const EngineOptions& options,
             std::vector<std::unique_ptr<TensorCommunicator>> endpoints);
  // Gives a GPU back what its allocator keeps: the next engine may be made otherwise.
  ~LocalRanks();
  LocalRanks(const LocalRanks&) = delete;
  LocalRanks& operator=(const LocalRanks&) = delete;

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

  // Which part of the model this process keeps on disk: all where it has all ranks; one stage of
  // them where each rank is a process, of which the first copies write.
  struct Part {
    int index = 0;
    int count = 1;
    bool writes = true;
  };
  Part part() const;

  // The parameters of this process's stages in model order, of one copy of each stage
  // (RankLayout::copies): -1, the first that is here. The ranks must be idle. After writing masters
  // of copy 0, or moments, all ranks must run StateChanged: only then do the other copies have
  // them.
  struct StateTensor {
    StageId stage;
    std::size_t index = 0;  // among the stage's
    Parameter* parameter;
  };
  std::vector<StateTensor> state(int copy = -1);

  // Each copy of a stage has the moments of a part of the tensor; these are all of them, in its
  // shape, where copy 0 is, and undefined elsewhere. Of one copy it is the rank's own memory. Every
  // process that has the stage must call it, for one tensor after the other.
  AdamW::Moments moments(const StateTensor& tensor);
  // The opposite; `whole` counts where copy 0 is.
  void set_moments(const StateTensor& tensor, const AdamW::Moments& whole);

  // A job has come to this place, where a fault may be asked for (Ranks::at()). One whose processes
  // exchange something catches what it throws, and goes through the exchange all the same.
  void at(const std::string& place) const;

  // What one job keeps for the next.
  std::vector<at::Tensor>& kept() { return kept_; }

 private:
  // Every rank of the layout is in this process.
  bool has_all() const { return static_cast<int>(size()) == layout_.size(); }
  void on_stage(StageId stage, const std::function<void(StageExecutor&)>& job);
  void trim_pool(const std::vector<Outcome>& outcomes);

  Ranks* processes_;               // EngineOptions::ranks
  c10::Device device_ = at::kCPU;  // a GPU of theirs
  RankLayout layout_;
  std::vector<int> ranks_;
  std::vector<std::unique_ptr<StageThread>> threads_;
  const Command* running_ = nullptr;
  std::vector<Reply> replies_;  // written by the ranks' threads while a command runs
  std::vector<at::Tensor> kept_;
  double pool_keep_ = 0.0;  // free bytes that the pool may keep between steps
};

}  // namespace infinipipe
