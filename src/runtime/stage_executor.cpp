#include "runtime/stage_executor.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "core/model_tensors.h"
#include "dist/lost_connection.h"
#include "infinipipe/base/error.h"
#include "model/common/chunk_state.h"
#include "model/common/to_device.h"
#include "runtime/cuda_devices.h"

namespace infinipipe {

namespace {

using Clock = std::chrono::steady_clock;

Seconds seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

Bytes& of(MemoryByPurpose& bytes, MemoryPurpose purpose) {
  return bytes[static_cast<std::size_t>(purpose)];
}

// The reason alone: CUDA's go on with advice on how to debug a kernel.
std::string first_line(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  return text.substr(0, text.find('\n'));
}

}  // namespace

void shift(StageRun& run, Seconds by) {
  for (TraceEvent& event : run.events)
    for (Seconds* at : {&event.ready, &event.begin, &event.end}) *at += by;
  for (TransferEvent& transfer : run.transfers)
    for (Seconds* at : {&transfer.begin, &transfer.end}) *at += by;
  for (MemorySample& sample : run.memory) sample.at += by;
  run.not_finite_at += by;
}

struct StageExecutor::Alive {
  std::unique_ptr<ChunkState> state;
  std::int64_t bytes = 0;
};

// Positions in `receivers` and `posted` count receives: those up to `posted` have been announced.
struct StageExecutor::Step {
  const StepInput& input;
  const Replica& replica;
  const std::vector<Instruction>& list;
  TimePoint origin;
  StageRun result;
  std::map<std::pair<PipelineId, ChunkId>, Alive> alive;
  std::int64_t alive_bytes = 0;
  std::map<std::pair<PipelineId, ChunkId>, double> losses;  // summed in this order
  std::vector<std::size_t> receivers;  // positions in `list` of instructions that receive
  std::size_t posted = 0;              // of `receivers`
};

StageExecutor::StageExecutor(const Options& options, std::unique_ptr<TensorCommunicator> comm)
    : options_(options),
      comm_(std::move(comm)),
      stage_(comm_->stage()),
      meter_(memory::acquire_meter()) {
  if (!options_.model.device.is_cpu()) {
    device_reports_.emplace();
    warm_up_libraries();
  }
  {
    const MemoryScope scope(meter_, MemoryPurpose::kWeights);
    model_ = std::make_unique<StageModel>(options_.model);
    if (options_.longest > 0) model_->reserve_positions(options_.longest);
  }
  for (Parameter& parameter : model_->parameters()) {
    memory::assign(parameter.grad, meter_, MemoryPurpose::kGradients);
    const std::string& name = parameter.tied_copy ? kEmbeddingTensor : parameter.name;
    parameter.trained = is_trained(name, options_.only);
  }
  const MemoryScope scope(meter_, MemoryPurpose::kOptimizer);
  const TensorGroup& copies = comm_->copies();
  optimizer_ = std::make_unique<AdamW>(options_.optimizer, model_->parameters(), model_->path(),
                                       copies.rank(), copies.size());
}

// The matrix library takes its workspace on a device with its first product, and keeps it.
void StageExecutor::warm_up_libraries() const {
  const MemoryScope scope(meter_, MemoryPurpose::kWorkspace);
  const at::Tensor one =
      at::ones({64, 64}, at::TensorOptions(options_.model.device).dtype(options_.model.dtype));
  at::mm(one, one);
  synchronize();
}

std::string StageExecutor::out_of_memory(const c10::Error& error) const {
  const auto reserved = static_cast<Bytes>(reserved_bytes(options_.model.device));
  return first_line(error) + " The stage's tensors take " +
         format_bytes(static_cast<Bytes>(meter_.live())) + ", at most " +
         format_bytes(static_cast<Bytes>(meter_.peak())) +
         (reserved > 0.0 ? ", of " + format_bytes(reserved) + " that the allocator took" : "") +
         "; lower memory.bytes_per_stage below what it has, or take more stages";
}

StageExecutor::~StageExecutor() {
  optimizer_.reset();
  model_.reset();
  store_.clear();
  memory::release_meter(meter_);
}

void StageExecutor::begin_work(int step) {
  const std::lock_guard lock(status_mutex_);
  status_ = {true, current_work_, step, status_.begun + 1, {}};
}

void StageExecutor::end_work() {
  const std::lock_guard lock(status_mutex_);
  status_.running = false;
}

StageStatus StageExecutor::status() const {
  const std::lock_guard lock(status_mutex_);
  return status_;
}

StageFailure StageExecutor::failure(const std::string& what, int lost_rank) const {
  return {stage_, current_work_, what, replica(), comm_->shard(), lost_rank};
}

TensorGroup* StageExecutor::shards(int degree) const {
  return degree > 1 ? &comm_->shards(degree) : nullptr;
}

ChunkWork StageExecutor::work(const StepInput& input, const Chunk& chunk) const {
  ChunkWork work = chunk_work(input, chunk, stage_, comm_->shard(), options_.shards);
  work.shards = shards(sharing_degree(chunk, options_.shards));
  return work;
}

MessageInfo StageExecutor::info(const Step& step, const Instruction& instruction,
                                std::int64_t columns) const {
  const ChunkWork work = this->work(step.input, step.replica.chunk(instruction));
  return {step.input.plan.step, instruction.pipeline, instruction.chunk, work.own_tokens().count(),
          columns};
}

template <class Body>
auto StageExecutor::guarded(const Body& body) {
  try {
    return body();
  } catch (const Aborted&) {
    throw;
  } catch (const LostConnection& lost) {
    comm_->abort(failure(lost.what(), lost.rank()));
  } catch (const c10::OutOfMemoryError& error) {
    comm_->abort(failure(out_of_memory(error)));
  } catch (const c10::Error& error) {
    comm_->abort(failure(first_line(error)));
  } catch (const std::exception& error) {
    comm_->abort(failure(error.what()));
  } catch (...) {
    comm_->abort(failure("an unknown exception"));
  }
  end_work();
  comm_->check();  // throws
  throw std::logic_error("an abort that is not there");
}

StageRun StageExecutor::run(const StepInput& input, TimePoint origin) {
  return guarded([&] {
    const Replica& replica = input.plan.replicas.at(static_cast<std::size_t>(this->replica()));
    Step step{input, replica, replica.instructions.at(stage_.index()), origin, {}, {}, 0, {},
              {},    0};
    {
      const MemoryScope scope(meter_, MemoryPurpose::kWeights);  // a constant of the model, too
      Tokens longest = 0;
      for (const Tokens length : input.plan.sequences) longest = std::max(longest, length);
      model_->reserve_positions(longest);
    }
    meter_.reset_peak();
    meter_.reset_largest();
    const MemoryScope scope(meter_, MemoryPurpose::kActivations);
    interpret(step);
    INFINIPIPE_ASSERT(step.alive.empty(), "a chunk's activations outlived its step");
    INFINIPIPE_ASSERT(store_.empty(), "keys or values of a cut sequence outlived its step");
    for (const auto& [chunk, loss] : step.losses) step.result.loss += loss;
    step.result.parts = model_->take_part_times();
    step.result.exchanged_bytes = model_->take_exchanged_bytes();
    step.result.largest_allocation = meter_.largest();
    step.result.reserved_bytes = reserved_bytes(options_.model.device);
    step.result.peak_activation_bytes = step.result.peak_bytes - state_bytes();
    return std::move(step.result);
  });
}

// Runs the list, one instruction after the other.
//
// Receives. The instructions that take a message are known from the list. A few of their receives
// are always announced ahead, so that a message can come in while the stage computes.
//
// Time. An instruction is ready when its input has arrived and the one before has ended. It ends
// when the device has finished, which on a GPU is later than the calls return.
//
// Memory. The meter's peak is restarted before each instruction, so that what is read after it is
// the instruction's own. What was the peak in between (a receive) counts for the step all the same.
void StageExecutor::interpret(Step& step) {
  for (std::size_t n = 0; n < step.list.size(); ++n) {
    const Instruction& i = step.list[n];
    if ((i.op == Op::kForward && !first()) || (starts_backward(i.op) && !last()))
      step.receivers.push_back(n);
  }
  post_receives(step, 0);
  forget_measured();
  model_->take_not_finite();
  TimePoint free = Clock::now();
  std::size_t received = 0;
  for (const Instruction& instruction : step.list) {
    current_work_ = to_string(instruction);
    comm_->check();
    TimePoint arrived = free;
    at::Tensor in = receive_input(step, instruction, arrived);
    if (in.defined()) post_receives(step, ++received);
    begin_work(step.input.plan.step);
    if (options_.before_instruction)
      options_.before_instruction(step.input.plan.step, stage_, instruction);

    const MemoryByPurpose before = bytes_now(step, in);
    step.result.peak_bytes = std::max(step.result.peak_bytes, meter_.reset_peak());
    const TimePoint begin = Clock::now();
    if (instruction.op == Op::kForward) {
      forward(step, instruction, in);
    } else {
      backward(step, instruction, in);
    }
    synchronize();
    in.reset();
    const TimePoint end = Clock::now();
    end_work();
    record(step, instruction, std::max(arrived, free), begin, end);
    free = end;
    if (step.result.not_finite.empty()) {
      step.result.not_finite = model_->take_not_finite();
      step.result.not_finite_at = step.result.events.back().end;
    }
    sample(step, instruction.op, before, meter_.peak());
  }
  step.result.peak_bytes = std::max(step.result.peak_bytes, meter_.reset_peak());
  current_work_.clear();
}

void StageExecutor::record(Step& step, const Instruction& instruction, TimePoint ready,
                           TimePoint begin, TimePoint end) {
  TraceEvent& event = step.result.events.emplace_back();
  event.replica = ReplicaId(replica());
  event.stage = stage_;
  event.instruction = instruction;
  event.ready = seconds(ready - step.origin);
  event.begin = seconds(begin - step.origin);
  event.end = seconds(end - step.origin);
  event.recompute = model_->take_recompute_seconds();
  event.exchange = model_->take_exchange_seconds();
}

// Announces receives until kReceivedAhead are open. `from`: how many messages have come.
void StageExecutor::post_receives(Step& step, std::size_t from) {
  const MemoryScope scope(meter_, MemoryPurpose::kTransfers);  // of buffers, where there are any
  const std::size_t until = std::min(step.receivers.size(), from + kReceivedAhead);
  for (; step.posted < until; ++step.posted) {
    const Instruction& i = step.list[step.receivers[step.posted]];
    const MessageInfo info = this->info(step, i, options_.model.model.hidden_size);
    if (i.op == Op::kForward) {
      comm_->post_receive(previous(), Flow::kActivation, info);
    } else {
      comm_->post_receive(next(), Flow::kGradient, info);
    }
  }
}

// The message that another stage sends for the instruction; undefined where none does.
at::Tensor StageExecutor::receive_input(Step&, const Instruction& instruction, TimePoint& arrived) {
  const bool activation = instruction.op == Op::kForward && !first();
  const bool gradient = starts_backward(instruction.op) && !last();
  if (!activation && !gradient) return {};
  auto message = activation ? comm_->receive(previous(), Flow::kActivation)
                            : comm_->receive(next(), Flow::kGradient);
  arrived = message.arrived;
  at::Tensor tensor = message.payload.to(options_.model.device);
  memory::assign(tensor, meter_, MemoryPurpose::kActivations);
  return tensor;
}

void StageExecutor::send(Step& step, StageId to, Flow flow, const Instruction& instruction,
                         at::Tensor tensor) {
  synchronize();  // the message is complete when it is handed over
  TransferEvent& transfer = step.result.transfers.emplace_back();
  transfer.replica = ReplicaId(replica());
  transfer.from = stage_;
  transfer.to = to;
  transfer.producer = instruction;
  transfer.begin = seconds(Clock::now() - step.origin);
  transfer.bytes = static_cast<Bytes>(tensor.nbytes());
  memory::assign(tensor, meter_, MemoryPurpose::kTransfers);
  const MessageInfo message = info(step, instruction, tensor.size(1));
  comm_->send(to, flow, message, std::move(tensor));
  transfer.end = seconds(Clock::now() - step.origin);
}

void StageExecutor::forward(Step& step, const Instruction& instruction, const at::Tensor& input) {
  const Chunk& chunk = step.replica.chunk(instruction);
  const at::Device device = options_.model.device;
  const ChunkWork work = this->work(step.input, chunk);
  const at::Tensor from = first() ? to_device(chunk_tokens(step.input, work), device) : input;
  ChunkTargets targets;
  if (last()) {
    const bool wide = options_.model.dtype == at::kDouble;
    targets = chunk_targets(step.input, work, wide ? at::kDouble : at::kFloat);
    targets.target = to_device(targets.target, device);
    targets.weight = to_device(targets.weight, device);
  }
  StageModel::Output out =
      model_->forward(work, from, last() ? &targets : nullptr, store_, !step.input.evaluation);
  const std::pair key(instruction.pipeline, instruction.chunk);
  if (last()) {
    step.losses[key] = out.loss.item<double>();
    if (out.terms.defined()) keep_terms(step, work, out.terms.to(at::kCPU));
  } else {
    send(step, next(), Flow::kActivation, instruction, std::move(out.output));
  }
  if (out.state == nullptr) return;
  const std::int64_t bytes = out.state->bytes();
  step.alive_bytes += bytes;
  step.alive[key] = {std::move(out.state), bytes};
}

// Puts what an evaluated chunk's tokens lose where their sequences have them.
void StageExecutor::keep_terms(Step& step, const ChunkWork& work, const at::Tensor& terms) {
  const std::vector<Tokens>& lengths = step.input.plan.sequences;
  step.result.terms.resize(lengths.size());
  const double* all = terms.const_data_ptr<double>();
  for_own_tokens(work, [&](const SliceWork& slice, Tokens begin, Tokens end, Tokens at) {
    std::vector<double>& sequence = step.result.terms.at(slice.sequence.index());
    sequence.resize(static_cast<std::size_t>(lengths.at(slice.sequence.index())));
    std::copy(all + at, all + at + (end - begin), sequence.begin() + begin);
  });
}

void StageExecutor::backward(Step& step, const Instruction& instruction, const at::Tensor& grad) {
  const auto found = step.alive.find({instruction.pipeline, instruction.chunk});
  INFINIPIPE_ASSERT(found != step.alive.end(), "a backward without its forward");
  Alive& alive = found->second;
  at::Tensor out;
  switch (instruction.op) {
    case Op::kBackward:
      out = model_->backward(std::move(alive.state), grad, store_);
      break;
    case Op::kInputGrad:
      out = model_->backward_input(*alive.state, grad, store_);
      break;
    default:
      model_->backward_weight(*alive.state);
      alive.state.reset();
  }
  const std::int64_t bytes = alive.state == nullptr ? 0 : alive.state->bytes();
  step.alive_bytes += bytes - alive.bytes;
  alive.bytes = bytes;
  if (alive.state == nullptr) step.alive.erase(found);
  if (starts_backward(instruction.op) && !first())
    send(step, previous(), Flow::kGradient, instruction, std::move(out));
}

std::int64_t StageExecutor::state_bytes() const {
  return meter_.live(MemoryPurpose::kWeights) + meter_.live(MemoryPurpose::kGradients) +
         meter_.live(MemoryPurpose::kOptimizer);
}

// The bytes that are live between two instructions, by purpose. The meter counts activations, K and
// V and their accumulators under one purpose. They are told apart here: the chunks say what they
// saved, the store says what its accumulators take, and the rest are keys and values that
// recomputed layers keep. The message that was received for the next instruction is its temporary.
MemoryByPurpose StageExecutor::bytes_now(const Step& step, const at::Tensor& received) const {
  MemoryByPurpose bytes{};
  for (std::size_t i = 0; i < kMemoryPurposes; ++i)
    bytes[i] = static_cast<Bytes>(meter_.live(static_cast<MemoryPurpose>(i)));
  const Bytes message = received.defined() ? static_cast<Bytes>(received.nbytes()) : 0.0;
  const Bytes all = std::max(0.0, of(bytes, MemoryPurpose::kActivations) - message);
  const auto saved = static_cast<Bytes>(step.alive_bytes);
  const auto accumulators = static_cast<Bytes>(store_.grad_bytes());
  of(bytes, MemoryPurpose::kActivations) = std::min(saved, all);
  of(bytes, MemoryPurpose::kKvGrad) = accumulators;
  of(bytes, MemoryPurpose::kKv) = std::max(0.0, all - saved - accumulators);
  of(bytes, MemoryPurpose::kWorkspace) += message;
  return bytes;
}

// Takes two samples for an instruction: its own peak, and what it leaves when it ends. At the peak
// there is what was there before. Of what came on top, a forward's activations count as
// activations, and all the rest is workspace; the accumulators that a backward opens are part of
// that.
void StageExecutor::sample(Step& step, Op op, const MemoryByPurpose& before, std::int64_t peak) {
  MemorySample during;
  during.replica = ReplicaId(replica());
  during.stage = stage_;
  during.at = step.result.events.back().begin;
  during.bytes = before;
  MemorySample after;
  after.replica = during.replica;
  after.stage = stage_;
  after.at = step.result.events.back().end;
  after.bytes = bytes_now(step, {});
  of(during.bytes, MemoryPurpose::kWorkspace) = 0.0;
  if (op == Op::kForward) {
    for (const MemoryPurpose purpose : {MemoryPurpose::kActivations, MemoryPurpose::kKv})
      of(during.bytes, purpose) = of(after.bytes, purpose);
  }
  Bytes sum = 0.0;
  for (const Bytes bytes : during.bytes) sum += bytes;
  of(during.bytes, MemoryPurpose::kWorkspace) = std::max(0.0, static_cast<Bytes>(peak) - sum);
  step.result.memory.push_back(during);
  step.result.memory.push_back(after);
}

void StageExecutor::exchange_tied(bool copy) {
  if (comm_->stages() == 1 || !options_.model.model.tie_word_embeddings) return;
  if (!first() && !last()) return;
  const StageId peer = first() ? StageId(comm_->stages() - 1) : StageId(0);
  auto& parameters = model_->parameters();
  const auto found = std::find_if(parameters.begin(), parameters.end(), [&](const Parameter& p) {
    return first() ? p.name == kEmbeddingTensor : p.tied_copy;
  });
  INFINIPIPE_ASSERT(found != parameters.end(), "tied embeddings need a copy on the last stage");
  const auto& moments = optimizer_->moments()[static_cast<std::size_t>(found - parameters.begin())];
  const at::Tensor& grad = found->grad;
  const auto info = [](const at::Tensor& tensor) {
    return MessageInfo{0, {}, {}, tensor.numel(), 1};
  };
  const auto receive = [&](const at::Tensor& like) {
    comm_->post_receive(peer, Flow::kParameter, info(like));
    return comm_->receive(peer, Flow::kParameter)
        .payload.to(options_.model.device)
        .view(like.sizes());
  };
  const auto give = [&](const at::Tensor& tensor) {
    synchronize();
    comm_->send(peer, Flow::kParameter, info(tensor), tensor);
  };
  // Neither side may change a tensor that it has handed over before the other has read it. The sum
  // that comes back shows the last stage that its gradient was read; everything else stays as it is
  // until the collective operation that all callers come to next.
  if (copy && first()) {
    for (const at::Tensor& tensor : {found->master, moments.exp_avg, moments.exp_avg_sq})
      give(tensor);
  } else if (copy) {
    for (const at::Tensor& tensor : {found->master, moments.exp_avg, moments.exp_avg_sq})
      tensor.copy_(receive(tensor));
  } else if (first()) {
    grad.add_(receive(grad));
    give(grad);
  } else {
    give(grad);
    grad.copy_(receive(grad));
  }
}

void StageExecutor::sum_gradients() {
  TensorGroup& copies = comm_->copies();
  if (copies.size() == 1) return;
  synchronize();
  // A tied gradient may still be read where it was handed to.
  if (options_.model.model.tie_word_embeddings) comm_->barrier();
  for (const Parameter& parameter : model_->parameters())
    if (parameter.trained) sum_to_owners(copies, parameter.grad);
}

void StageExecutor::share_weights() {
  TensorGroup& copies = comm_->copies();
  if (copies.size() == 1) return;
  synchronize();
  for (const Parameter& parameter : model_->parameters())
    if (parameter.trained) share_owned(copies, parameter.master);
}

StageExecutor::Update StageExecutor::optimizer_step(int step) {
  current_work_ = "optimizer";
  return guarded([&] {
    const MemoryScope scope(meter_, MemoryPurpose::kWorkspace);
    exchange_tied(/*copy=*/false);
    sum_gradients();
    double squares = optimizer_->gradient_squares();
    comm_->all_reduce_sum({&squares, 1});
    Update update;
    update.grad_norm = std::sqrt(squares);
    update.lr = learning_rate(options_.optimizer, step, options_.total_steps);
    update.skipped = !std::isfinite(squares);
    if (!update.skipped) {
      begin_work(step);
      const bool copied =
          optimizer_->step(step, update.lr, clip_factor(options_.optimizer, update.grad_norm));
      share_weights();
      if (!copied) model_->weights_changed();
      end_work();
    } else if (options_.model.check_finite) {
      for (const Parameter& parameter : model_->parameters()) {
        if (std::isfinite(sum_of_squares(model_->path(), parameter.grad))) continue;
        update.not_finite = "the gradient of " + parameter.name;
        break;
      }
    }
    synchronize();
    return update;
  });
}

void StageExecutor::state_changed() {
  current_work_ = "loading weights";
  guarded([&] {
    const MemoryScope scope(meter_, MemoryPurpose::kWorkspace);
    synchronize();
    for (const Parameter& parameter : model_->parameters())
      if (!parameter.tied_copy) copy_from_first(comm_->copies(), parameter.master);
    exchange_tied(/*copy=*/true);
    model_->weights_changed();
    comm_->barrier();
  });
}

AdamW::Moments StageExecutor::gather_moments(std::size_t parameter) {
  current_work_ = "gathering moments";
  return guarded([&] {
    const MemoryScope scope(meter_, MemoryPurpose::kWorkspace);
    synchronize();
    const at::Tensor& like = model_->parameters().at(parameter).master;
    const auto whole = [&](const at::Tensor& own) {
      const at::Tensor flat = gather_to_first(comm_->copies(), own, like.numel());
      return flat.defined() ? flat.view(like.sizes()) : flat;
    };
    const AdamW::Moments& own = optimizer_->moments().at(parameter);
    return AdamW::Moments{whole(own.exp_avg), whole(own.exp_avg_sq)};
  });
}

void StageExecutor::scatter_moments(std::size_t parameter, const AdamW::Moments& whole) {
  current_work_ = "loading moments";
  guarded([&] {
    const MemoryScope scope(meter_, MemoryPurpose::kWorkspace);
    const std::int64_t count = model_->parameters().at(parameter).master.numel();
    const AdamW::Moments& own = optimizer_->moments().at(parameter);
    scatter_from_first(comm_->copies(), whole.exp_avg, own.exp_avg, count);
    scatter_from_first(comm_->copies(), whole.exp_avg_sq, own.exp_avg_sq, count);
    synchronize();
  });
}

at::Tensor StageExecutor::logits(const std::vector<std::int64_t>& tokens, Tokens last_tokens,
                                 Tokens begin, bool goes_on) {
  current_work_ = "logits";
  return guarded([&] {
    const MemoryScope scope(meter_, MemoryPurpose::kActivations);
    const auto count = static_cast<Tokens>(tokens.size());
    ChunkWork work;
    work.shards = shards(options_.shards);
    const SequenceId text(0);
    work.slices.push_back({text, begin, begin + count, /*cut=*/goes_on || begin > 0, !goes_on});
    const TokenRange own = work.own_tokens();
    const MessageInfo info{0, {}, {}, own.count(), options_.model.model.hidden_size};
    at::Tensor in;
    if (first()) {
      in = at::tensor(tokens, at::dtype(at::kLong))
               .narrow(0, own.begin, own.count())
               .to(options_.model.device);
    } else {
      comm_->post_receive(previous(), Flow::kActivation, info);
      in = comm_->receive(previous(), Flow::kActivation).payload.to(options_.model.device);
      memory::assign(in, meter_, MemoryPurpose::kActivations);
    }
    at::Tensor out = model_->forward(work, in, nullptr, store_, /*keep=*/false).output;
    constexpr std::size_t kMostBlocks = 64;  // of a token each, say
    if (goes_on) store_.join(text, kMostBlocks);
    if (last()) {
      const Tokens from = std::clamp(count - last_tokens, own.begin, own.end);
      return model_->logits(out.narrow(0, from - own.begin, own.end - from));
    }
    synchronize();
    comm_->send(next(), Flow::kActivation, info, std::move(out));
    return at::Tensor();
  });
}

void StageExecutor::forget_measured() {
  model_->take_recompute_seconds();
  model_->take_exchange_seconds();
  model_->take_exchanged_bytes();
  model_->take_part_times();
}

void StageExecutor::recover() {
  store_.clear();
  forget_measured();
  comm_->recover();
}

void StageExecutor::synchronize() const {
  const at::Device device = options_.model.device;
  if (device.is_cpu()) return;
  c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

}  // namespace infinipipe
