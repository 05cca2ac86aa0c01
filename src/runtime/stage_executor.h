// One rank, a shard of a stage of a replica: its model, stores, optimizer and memory meter, and the
// interpreter of its instruction list. Lives on one thread; the engine owns one per rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "infinipipe/core/trace.h"
#include "model/common/kv_store.h"
#include "model/common/stage_model.h"
#include "runtime/allocator.h"
#include "runtime/batch.h"
#include "runtime/device_meter.h"
#include "runtime/optimizer.h"
#include "runtime/stage_status.h"

namespace infinipipe {

using TensorCommunicator = Communicator<at::Tensor>;
using TimePoint = std::chrono::steady_clock::time_point;
// Called on the stage's thread before each instruction runs (its input has arrived). May throw.
using InstructionHook = std::function<void(int step, StageId stage, const Instruction&)>;

// How many receives are announced before they are needed. Between processes each has its memory
// from then on: the one that is needed next, and another that comes in meanwhile.
inline constexpr std::size_t kReceivedAhead = 2;

// What a stage measured in one step. Seconds are from the origin given to run().
struct StageRun {
  double loss = 0.0;  // last stage: sum of weight x cross-entropy over the rank's tokens
  // Last stage, evaluation: each token's part of that sum, by sequence and position; 0 where
  // another shard has the token.
  std::vector<std::vector<double>> terms;
  std::vector<TraceEvent> events;
  std::vector<TransferEvent> transfers;  // sent by this stage
  std::vector<MemorySample> memory;
  PartTimes parts;
  std::int64_t exchanged_bytes = 0;  // given in exchanges between shards, the own part of them too
  std::int64_t peak_bytes = 0;
  std::int64_t peak_activation_bytes = 0;  // without weights, gradients and optimizer
  std::int64_t largest_allocation = 0;
  std::int64_t reserved_bytes = 0;  // of its GPU, at the step's end (runtime/cuda_devices.h)
  // With check_finite: the first tensor that was not finite, and after which instruction's end that
  // was seen; empty: none.
  std::string not_finite;
  Seconds not_finite_at = 0.0;
};

// Moves all its times `by` seconds.
void shift(StageRun& run, Seconds by);

class StageExecutor final {
 public:
  struct Options {
    StageModel::Options model;
    OptimizerConfig optimizer;
    std::vector<std::string> only;  // TrainingConfig::only
    int total_steps = 1;
    int shards = 1;                      // of the stage
    Tokens longest = 0;                  // Engine::Options::longest
    InstructionHook before_instruction;  // may be empty
  };

  // Makes the weights: on the thread that will run the stage, so that their pages are near it.
  StageExecutor(const Options& options, std::unique_ptr<TensorCommunicator> comm);
  ~StageExecutor();
  StageExecutor(const StageExecutor&) = delete;
  StageExecutor& operator=(const StageExecutor&) = delete;

  // Runs the stage's list of the own replica in a valid plan. Receives are posted ahead. Fails as
  // guarded() does.
  StageRun run(const StepInput& input, TimePoint origin);

  struct Update {
    double grad_norm = 0.0;
    double lr = 0.0;
    bool skipped = false;
    std::string not_finite;  // skipped, with check_finite: the first gradient of the stage that is
                             // not finite
  };
  // Collective: all ranks call it. Tied copies' gradients are summed first, then those of the
  // stage's copies (its shards in all replicas), each part on its owner (shards.h), which updates
  // it; the others get what came out. A norm that is not finite leaves weights and moments as they
  // are, on all ranks. Of several copies gradients are of no further use after it but for
  // zero_grad().
  Update optimizer_step(int step);
  void zero_grad() { model_->zero_grad(); }

  // Collective: brings the other copies, tied ones and bfloat16 weights in line with masters that
  // were written on the first copy.
  void state_changed();

  // Collective over the stage's copies: the moments of a parameter in its shape, on the first one;
  // undefined on the others. A single copy's are its own memory.
  AdamW::Moments gather_moments(std::size_t parameter);
  // The opposite: the first copy gives them, the others may leave them undefined. state_changed()
  // must follow.
  void scatter_moments(std::size_t parameter, const AdamW::Moments& whole);

  // Collective over one replica's ranks: logits after each of the last tokens, [last_tokens,
  // vocab], on the last stage, on each shard those of its own tokens; undefined on the others.
  // `begin` tokens of the same text came before, in calls that `goes_on` was given to: their keys
  // and values are there, and this call's are kept if it is given again.
  at::Tensor logits(const std::vector<std::int64_t>& tokens, Tokens last_tokens, Tokens begin = 0,
                    bool goes_on = false);
  // Forgets the text that went on.
  void forget_text() { store_.clear(); }

  // Collective, after a failed call: forgets the step.
  void recover();

  // For any thread.
  StageStatus status() const;

  StageId stage() const { return stage_; }
  int replica() const { return comm_->replica(); }
  bool first_copy() const { return comm_->copies().rank() == 0; }
  std::vector<Parameter>& parameters() { return model_->parameters(); }

 private:
  struct Alive;  // a chunk between its forward and its backward
  struct Step;   // the step that runs

  // Runs `body`. If it throws, the other stages are told, and Aborted is thrown with the stage,
  // work and reason of the first failure: this stage's, unless another stage failed before.
  template <class Body>
  auto guarded(const Body& body);

  bool first() const { return stage_ == StageId(0); }
  bool last() const { return stage_.value() + 1 == comm_->stages(); }
  StageId next() const { return StageId(stage_.value() + 1); }
  StageId previous() const { return StageId(stage_.value() - 1); }

  StageFailure failure(const std::string& what, int lost_rank = -1) const;
  // The own one of the groups of so many neighbouring shards; null for 1.
  TensorGroup* shards(int degree) const;
  // What this rank does of the chunk.
  ChunkWork work(const StepInput& input, const Chunk& chunk) const;
  // What a message about the instruction's chunk says of itself.
  MessageInfo info(const Step& step, const Instruction& instruction, std::int64_t columns) const;

  // What to say where the device had no memory left.
  std::string out_of_memory(const c10::Error& error) const;

  void begin_work(int step);  // of current_work_
  void end_work();

  void warm_up_libraries() const;
  void forget_measured();  // by the model, of what ran before
  void interpret(Step& step);
  void record(Step& step, const Instruction& instruction, TimePoint ready, TimePoint begin,
              TimePoint end);
  void post_receives(Step& step, std::size_t from);
  at::Tensor receive_input(Step& step, const Instruction& instruction, TimePoint& arrived);
  static void keep_terms(Step& step, const ChunkWork& work, const at::Tensor& terms);
  void forward(Step& step, const Instruction& instruction, const at::Tensor& input);
  void backward(Step& step, const Instruction& instruction, const at::Tensor& grad);
  void send(Step& step, StageId to, Flow flow, const Instruction& instruction, at::Tensor tensor);
  void sample(Step& step, Op op, const MemoryByPurpose& before, std::int64_t peak);
  MemoryByPurpose bytes_now(const Step& step, const at::Tensor& received) const;
  std::int64_t state_bytes() const;
  // For tied embeddings. Sums the gradients of the first stage's embedding and of the last stage's
  // copy, on both; with `copy`, sets the copy's master and moments to the first stage's.
  void exchange_tied(bool copy);
  // Sums the copies' gradients, each part on its owner.
  void sum_gradients();
  // Gives the copies each owner's masters.
  void share_weights();
  void synchronize() const;

  Options options_;
  std::optional<DeviceReports> device_reports_;  // on a GPU; ends last
  std::unique_ptr<TensorCommunicator> comm_;
  StageId stage_;
  MemoryMeter& meter_;
  std::unique_ptr<StageModel> model_;
  std::unique_ptr<AdamW> optimizer_;
  KvStore store_;
  std::string current_work_;  // what runs now: an instruction or a name; failures report it
  mutable std::mutex status_mutex_;
  StageStatus status_;
};

}  // namespace infinipipe
