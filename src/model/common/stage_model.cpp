#include "model/common/stage_model.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "core/names.h"
#include "infinipipe/base/error.h"
#include "infinipipe/core/dtype.h"
#include "model/common/chunk_state.h"
#include "model/common/head.h"
#include "model/common/kv_store.h"
#include "model/common/parameters.h"
#include "model/common/stage_context.h"
#include "model/common/to_device.h"
#include "model/models.h"

namespace infinipipe {

Tokens ChunkWork::tokens() const {
  Tokens sum = 0;
  for (const SliceWork& slice : slices) sum += slice.tokens();
  return sum;
}

TokenRange ChunkWork::own_tokens() const {
  return shards == nullptr ? TokenRange{0, tokens()}
                           : token_share(tokens(), shards->rank(), shards->size());
}

std::int64_t ChunkState::bytes() const {
  std::int64_t sum = 0;
  for (const auto& layer : layers) sum += layer->bytes();
  for (const at::Tensor* each : {&token_ids, &head_grad})
    if (each->defined()) sum += static_cast<std::int64_t>(each->nbytes());
  return sum;
}

namespace {

void check(const StageModel::Options& options) {
  options.model.check();
  const auto type = options.dtype;
  if (type != at::kDouble && type != at::kFloat && type != at::kBFloat16) {
    throw InputError("training.dtype", std::string("found ") + c10::toString(type),
                     "expected " + listed(names_of(kDtypes)));
  }
  INFINIPIPE_ASSERT(options.layers.begin >= 0 && options.layers.count() >= 0 &&
                        options.layers.end <= options.model.num_hidden_layers,
                    "layer range outside the model");
}

RopeFrequencies frequencies_of(const StageModel::Options& options) {
  const ModelSpec& model = options.model;
  return rope_frequencies(model.rope, model.rope_theta, model.resolved_head_dim(),
                          model.max_position_embeddings, options.longest);
}

}  // namespace

struct StageModel::Impl {
  Options options;
  PartTimes times;
  StageContext context;
  StageParameters parameters;
  std::vector<std::unique_ptr<StageLayer>> layers;
  std::unique_ptr<Head> head;
  at::Tensor rope_table;
  Stopwatch recomputing;
  Stopwatch exchanging;
  std::int64_t exchanged_bytes = 0;
  std::string not_finite;  // the first that was seen

  explicit Impl(const Options& given)
      : options(given), recomputing(given.device), exchanging(given.device) {
    check(options);
    context.path = options.path ? *options.path : ComputePath::of(options.device);
    context.times = options.time_parts ? &times : nullptr;
    context.device = options.device;
    context.exchanges = &exchanging;
    ParameterMaker make(options, parameters);
    if (options.embedding) make.embedding();
    for (int i = options.layers.begin; i < options.layers.end; ++i)
      layers.push_back(make_layer(options.model, i, make, context));
    if (options.head) {
      make.head();
      head = std::make_unique<Head>(options.model, parameters.final_norm, parameters.head,
                                    options.head_block_tokens, context);
    }
  }

  void note_finite(const at::Tensor& tensor, const std::string& where, const char* what);
  std::string layer_name(int layer) const {
    return "layer " + std::to_string(options.layers.begin + layer);
  }
  LayerChunk layer_chunk(const ChunkWork& chunk);
  void reserve_positions(Tokens most);
  std::vector<AttentionSlice> forward_slices(const ChunkWork& chunk, int layer, KvStore& store);
  std::vector<AttentionSlice> backward_slices(const ChunkWork& chunk, int layer, KvStore& store);
  void store_keys(const ChunkWork& chunk, int layer, const LayerPass& pass, KvStore& store,
                  bool keep);
  at::Tensor embed(const at::Tensor& ids);
  void recompute(ChunkState& state, int layer, const LayerChunk& shared, KvStore& store);
  at::Tensor backward(ChunkState& state, const at::Tensor& output_grad, KvStore& store,
                      bool all_weights);
};

void StageModel::Impl::note_finite(const at::Tensor& tensor, const std::string& where,
                                   const char* what) {
  if (!options.check_finite || !not_finite.empty()) return;
  if (!at::isfinite(tensor).all().item<bool>()) not_finite = where + ": " + what;
}

// Positions of the rank's tokens, and angles for all of the chunk's.
LayerChunk StageModel::Impl::layer_chunk(const ChunkWork& chunk) {
  const at::Tensor positions = at::empty({chunk.tokens()}, at::dtype(at::kLong));
  auto* data = positions.mutable_data_ptr<std::int64_t>();
  Tokens most = 0;
  for (const SliceWork& slice : chunk.slices) {
    for (Tokens position = slice.begin; position < slice.end; ++position) *data++ = position;
    most = std::max(most, slice.end);
  }
  reserve_positions(most);
  const TokenRange own = chunk.own_tokens();
  LayerChunk shared{
      to_device(positions.narrow(0, own.begin, own.count()), options.device), rope_table, {}};
  if (chunk.shards != nullptr) {
    shared.shards.emplace(kernels::Heads::of(options.model), *chunk.shards, chunk.tokens(),
                          &exchanged_bytes);
  }
  return shared;
}

void StageModel::Impl::reserve_positions(Tokens most) {
  most = std::max<Tokens>(most, 1024);  // so that growing lengths do not rebuild it each time
  if (!rope_table.defined() || rope_table.size(0) < most) {
    const auto rows = std::bit_ceil(static_cast<std::uint64_t>(most));
    rope_table =
        kernels::rope_table(static_cast<std::int64_t>(rows), frequencies_of(options),
                            at::dtype(accumulate_dtype(options.dtype)).device(options.device));
  }
}

std::vector<AttentionSlice> StageModel::Impl::forward_slices(const ChunkWork& chunk, int layer,
                                                             KvStore& store) {
  std::vector<AttentionSlice> slices;
  std::int64_t row = 0;
  for (const SliceWork& slice : chunk.slices) {
    AttentionSlice next;
    next.begin = row;
    next.end = row += slice.tokens();
    next.context = store.before(slice.sequence, layer, slice.begin, options.model.sliding_window);
    slices.push_back(std::move(next));
  }
  return slices;
}

std::vector<AttentionSlice> StageModel::Impl::backward_slices(const ChunkWork& chunk, int layer,
                                                              KvStore& store) {
  std::vector<KvBlock> own;
  for (const SliceWork& slice : chunk.slices) {
    own.push_back(slice.cut && !slice.last ? store.take(slice.sequence, layer, slice.begin)
                                           : KvBlock{});
  }
  std::vector<AttentionSlice> slices = forward_slices(chunk, layer, store);
  for (std::size_t i = 0; i < slices.size(); ++i) {
    slices[i].key_grad = std::move(own[i].key_grad);
    slices[i].value_grad = std::move(own[i].value_grad);
  }
  return slices;
}

// Hands keys and values of cut sequences to the slices that follow.
void StageModel::Impl::store_keys(const ChunkWork& chunk, int layer, const LayerPass& pass,
                                  KvStore& store, bool keep) {
  std::int64_t row = 0;
  for (const SliceWork& slice : chunk.slices) {
    const std::int64_t begin = row;
    row += slice.tokens();
    if (!slice.cut) continue;
    if (slice.last) {
      if (!keep) store.drop(slice.sequence, layer);
      continue;
    }
    const auto rows = [&](const at::Tensor& x) {
      const at::Tensor part = x.narrow(0, begin, slice.tokens());
      return chunk.slices.size() == 1 ? part : part.clone();  // or the view would hold all rows
    };
    store.append(slice.sequence, layer, slice.begin, rows(pass.key()), rows(pass.value()));
  }
}

at::Tensor StageModel::Impl::embed(const at::Tensor& ids) {
  const auto timer = context.elementwise();
  return parameters.embedding.value.index_select(0, ids);
}

void StageModel::Impl::recompute(ChunkState& state, int layer, const LayerChunk& shared,
                                 KvStore& store) {
  recomputing.start();
  context.exchanges = nullptr;
  LayerPass& pass = *state.layers[static_cast<std::size_t>(layer)];
  pass.remake(state.chunk.keeping.of_layer(layer), shared,
              forward_slices(state.chunk, layer, store));
  context.exchanges = &exchanging;
  recomputing.stop();
}

at::Tensor StageModel::Impl::backward(ChunkState& state, const at::Tensor& output_grad,
                                      KvStore& store, bool all_weights) {
  INFINIPIPE_ASSERT(!state.input_done, "a chunk's backward ran twice");
  const LayerChunk shared = layer_chunk(state.chunk);
  at::Tensor grad = options.head ? std::move(state.head_grad) : output_grad;
  state.head_grad.reset();
  INFINIPIPE_ASSERT(grad.defined() && grad.size(0) == state.chunk.own_tokens().count(),
                    "a backward needs the gradient of the chunk's output");
  for (int i = static_cast<int>(layers.size()) - 1; i >= 0; --i) {
    const bool runs_again = i < state.chunk.keeping.remade();
    if (runs_again) recompute(state, i, shared, store);
    auto slices = backward_slices(state.chunk, i, store);
    LayerPass& pass = *state.layers[static_cast<std::size_t>(i)];
    grad = pass.backward_input(shared, slices, grad);
    if (all_weights || runs_again) pass.backward_weight();
    note_finite(grad, layer_name(i), "the gradient of its input");
  }
  state.input_done = true;
  if (!options.embedding) return grad;
  const auto timer = context.elementwise();
  kernels::embedding_backward(context.path, state.token_ids, grad, parameters.embedding.grad);
  state.token_ids.reset();
  return {};
}

StageModel::StageModel(const Options& options) : impl_(std::make_unique<Impl>(options)) {}
StageModel::~StageModel() = default;

const StageModel::Options& StageModel::options() const { return impl_->options; }
const ComputePath& StageModel::path() const { return impl_->context.path; }
std::vector<Parameter>& StageModel::parameters() { return impl_->parameters.list; }

void StageModel::weights_changed() {
  for (const Weight& weight : impl_->parameters.stored)
    if (!weight.value.is_same(weight.master)) weight.value.copy_(weight.master);
}

void StageModel::zero_grad() {
  for (const Weight& weight : impl_->parameters.stored) weight.grad.zero_();
}

void StageModel::reserve_positions(Tokens longest) { impl_->reserve_positions(longest); }

StageModel::Output StageModel::forward(const ChunkWork& chunk, const at::Tensor& input,
                                       const ChunkTargets* targets, KvStore& store, bool keep) {
  Impl& impl = *impl_;
  INFINIPIPE_ASSERT(input.defined() && input.size(0) == chunk.own_tokens().count(),
                    "a forward's input must have the chunk's tokens");
  INFINIPIPE_ASSERT(chunk.keeping.remade() <= impl.options.layers.count(),
                    "more recomputed layers than the stage has");
  const LayerChunk shared = impl.layer_chunk(chunk);
  Output result;
  if (keep) {
    result.state = std::make_unique<ChunkState>(chunk);
    if (impl.options.embedding) result.state->token_ids = input;
  }
  at::Tensor hidden = impl.options.embedding ? impl.embed(input) : input;
  if (impl.options.embedding) impl.note_finite(hidden, "embedding", "its output");
  for (int i = 0; i < impl.options.layers.count(); ++i) {
    std::unique_ptr<LayerPass> pass =
        impl.layers[static_cast<std::size_t>(i)]->begin(std::move(hidden));
    hidden = pass->forward(shared, impl.forward_slices(chunk, i, store));
    impl.note_finite(hidden, impl.layer_name(i), "its output");
    impl.store_keys(chunk, i, *pass, store, keep);
    if (!keep) continue;
    pass->keep(chunk.keeping.of_layer(i));
    result.state->layers.push_back(std::move(pass));
  }
  if (!impl.options.head) {
    result.output = std::move(hidden);
    return result;
  }
  INFINIPIPE_ASSERT(targets != nullptr || !keep, "the last stage needs targets");
  if (targets == nullptr) {
    result.output = std::move(hidden);
    return result;
  }
  Head::Result head = impl.head->loss(hidden, *targets, keep);
  result.loss = std::move(head.loss);
  impl.note_finite(result.loss, "head", "the loss");
  if (keep) result.state->head_grad = std::move(head.hidden_grad);
  result.terms = std::move(head.terms);
  return result;
}

at::Tensor StageModel::backward_input(ChunkState& state, const at::Tensor& output_grad,
                                      KvStore& store) {
  return impl_->backward(state, output_grad, store, /*all_weights=*/false);
}

void StageModel::backward_weight(ChunkState& state) {
  INFINIPIPE_ASSERT(state.input_done, "a chunk's weight gradient ran before its input gradient");
  for (std::size_t i = state.layers.size(); i-- > 0;) {
    if (static_cast<int>(i) >= state.chunk.keeping.remade()) state.layers[i]->backward_weight();
  }
  state.layers.clear();
}

at::Tensor StageModel::backward(std::unique_ptr<ChunkState> state, const at::Tensor& output_grad,
                                KvStore& store) {
  INFINIPIPE_ASSERT(state != nullptr, "a backward needs what the forward kept");
  return impl_->backward(*state, output_grad, store, /*all_weights=*/true);
}

double StageModel::take_recompute_seconds() { return impl_->recomputing.take_seconds(); }
double StageModel::take_exchange_seconds() { return impl_->exchanging.take_seconds(); }
std::int64_t StageModel::take_exchanged_bytes() { return std::exchange(impl_->exchanged_bytes, 0); }

std::string StageModel::take_not_finite() { return std::exchange(impl_->not_finite, {}); }

PartTimes StageModel::take_part_times() { return std::exchange(impl_->times, PartTimes{}); }

at::Tensor StageModel::logits(const at::Tensor& hidden) const {
  INFINIPIPE_ASSERT(impl_->head != nullptr, "only the last stage has logits");
  return impl_->head->logits(hidden);
}

}  // namespace infinipipe
