#include "model/common/decoder/layer.h"

#include "model/common/linear.h"

namespace infinipipe::decoder {

namespace {

template <class Member>
std::int64_t size_of(const Member& tensor) {
  return tensor.defined() ? static_cast<std::int64_t>(tensor.nbytes()) : 0;
}

// A layer's own functions on what this pass keeps.
class Pass final : public LayerPass {
 public:
  Pass(DecoderLayer& layer, at::Tensor input) : layer_(layer) { saved_.input = std::move(input); }

  at::Tensor forward(const LayerChunk& chunk, std::span<const AttentionSlice> slices) override {
    return layer_.forward(chunk, slices, saved_);
  }
  const at::Tensor& key() const override { return saved_.key; }
  const at::Tensor& value() const override { return saved_.value; }
  void keep(Keep level) override { saved_.keep(level); }
  void remake(Keep level, const LayerChunk& chunk,
              std::span<const AttentionSlice> slices) override {
    layer_.remake(level, chunk, slices, saved_);
  }
  at::Tensor backward_input(const LayerChunk& chunk, std::span<AttentionSlice> slices,
                            const at::Tensor& output_grad) override {
    return layer_.backward_input(chunk, slices, saved_, output_grad);
  }
  void backward_weight() override { layer_.backward_weight(saved_); }
  std::int64_t bytes() const override { return saved_.bytes(); }

 private:
  DecoderLayer& layer_;
  LayerSaved saved_;
};

// Attention's output of the rank's own tokens.
const at::Tensor& attended_tokens(const LayerSaved& saved) {
  return saved.attended.defined() ? saved.attended : saved.attention;
}

}  // namespace

std::int64_t LayerSaved::bytes() const {
  std::int64_t sum = 0;
  for (const at::Tensor* each :
       {&input, &input_rstd, &query, &key, &value, &attention, &attended, &raw_query, &raw_key,
        &lse, &middle, &middle_rstd, &gate_up, &qkv_grad})
    sum += size_of(*each);
  return sum;
}

void LayerSaved::keep(Keep level) {
  LayerSaved kept;
  switch (level) {
    case Keep::kAll:
      return;
    case Keep::kMlpInput:
      gate_up.reset();
      return;
    case Keep::kAttention:
      kept.attention = std::move(attention);
      kept.attended = std::move(attended);
      kept.lse = std::move(lse);
      break;
    case Keep::kInput:
      break;
  }
  kept.input = std::move(input);
  *this = std::move(kept);
}

DecoderLayer::DecoderLayer(const ModelSpec& model, LayerParameters weights,
                           const StageContext& context)
    : heads_(kernels::Heads::of(model)),
      eps_(model.rms_norm_eps),
      weights_(std::move(weights)),
      context_(context) {}

std::unique_ptr<LayerPass> DecoderLayer::begin(at::Tensor input) {
  return std::make_unique<Pass>(*this, std::move(input));
}

// From the input to queries, keys and values.
void DecoderLayer::project(const LayerChunk& chunk, LayerSaved& saved) const {
  at::Tensor normed;
  {
    const auto timer = context_.elementwise();
    kernels::Normed result =
        kernels::rms_norm(context_.path, saved.input, weights_.input_norm.value, eps_);
    normed = std::move(result.value);
    saved.input_rstd = std::move(result.rstd);
  }
  at::Tensor projected;
  {
    const auto timer = context_.matmul();
    projected = linear::apply(context_.path, normed, weights_.qkv);
    normed.reset();
  }
  kernels::QueryKeyValue split;
  {
    const auto timer = context_.elementwise();
    if (weights_.qkv_bias.value.defined()) linear::add_bias(projected, weights_.qkv_bias);
    if (weights_.query_norm.value.defined()) norm_heads(projected, saved);
    split =
        kernels::rope_split(context_.path, projected, chunk.positions, chunk.rope_table, heads_);
    projected.reset();
  }
  if (chunk.shards) {
    const auto timer = context_.exchange();
    split = chunk.shards->to_heads(split);
  }
  saved.query = std::move(split.query);
  saved.key = std::move(split.key);
  saved.value = std::move(split.value);
}

// Each head's query and key in `projected` becomes its normed one.
void DecoderLayer::norm_heads(at::Tensor& projected, LayerSaved& saved) const {
  const auto one = [&](std::int64_t begin, std::int64_t width, const Weight& weight,
                       at::Tensor& raw) {
    at::Tensor part = projected.narrow(1, begin, width);
    raw = part.clone(at::MemoryFormat::Contiguous);
    part.copy_(kernels::rms_norm(context_.path, raw.view({-1, heads_.dim}), weight.value, eps_)
                   .value.view(raw.sizes()));
  };
  one(0, heads_.query_width(), weights_.query_norm, saved.raw_query);
  one(heads_.query_width(), heads_.kv_width(), weights_.key_norm, saved.raw_key);
}

// Gradients of normed queries and keys in qkv_grad become those of the raw ones.
void DecoderLayer::norm_heads_backward(LayerSaved& saved) {
  const auto one = [&](std::int64_t begin, at::Tensor& raw, Weight& weight) {
    at::Tensor part = saved.qkv_grad.narrow(1, begin, raw.size(1));
    const at::Tensor grad = part.clone(at::MemoryFormat::Contiguous);
    const at::Tensor rows = raw.view({-1, heads_.dim});
    at::Tensor grad_rows = grad.view({-1, heads_.dim});
    const at::Tensor rstd = kernels::rms_norm(context_.path, rows, weight.value, eps_).rstd;
    kernels::rms_norm_backward(context_.path, grad_rows, rows, rstd, weight.value, {}, weight.grad);
    part.copy_(grad_rows.view(part.sizes()));
    raw.reset();
  };
  one(0, saved.raw_query, weights_.query_norm);
  one(heads_.query_width(), saved.raw_key, weights_.key_norm);
}

void DecoderLayer::attend(const LayerChunk& chunk, std::span<const AttentionSlice> slices,
                          LayerSaved& saved) const {
  {
    const auto timer = context_.attention();
    AttentionResult result =
        attention_forward(context_.path, chunk.shards ? chunk.shards->heads() : heads_, saved.query,
                          saved.key, saved.value, slices);
    saved.attention = std::move(result.output);
    saved.lse = std::move(result.lse);
  }
  if (!chunk.shards) return;
  const auto timer = context_.exchange();
  saved.attended = chunk.shards->to_tokens(saved.attention);
}

// Gradients of queries, keys and values from that of attention's output. Empties what it used.
kernels::QueryKeyValue DecoderLayer::attend_backward(const LayerChunk& chunk,
                                                     std::span<AttentionSlice> slices,
                                                     LayerSaved& saved, at::Tensor grad) const {
  if (chunk.shards) {
    const auto timer = context_.exchange();
    grad = chunk.shards->to_heads(grad);
  }
  kernels::QueryKeyValue result;
  {
    const auto timer = context_.attention();
    result = attention_backward(context_.path, chunk.shards ? chunk.shards->heads() : heads_, grad,
                                {saved.query, saved.key, saved.value}, {saved.attention, saved.lse},
                                slices);
    grad.reset();
    for (at::Tensor* used :
         {&saved.query, &saved.key, &saved.value, &saved.attention, &saved.attended, &saved.lse})
      used->reset();
  }
  if (!chunk.shards) return result;
  const auto timer = context_.exchange();
  return chunk.shards->to_tokens(result, saved.input.scalar_type());
}

// From attention to gate and up.
void DecoderLayer::expand(LayerSaved& saved) const {
  {
    const auto timer = context_.matmul();
    saved.middle =
        linear::apply_add(context_.path, saved.input, attended_tokens(saved), weights_.output);
  }
  at::Tensor normed;
  {
    const auto timer = context_.elementwise();
    kernels::Normed result =
        kernels::rms_norm(context_.path, saved.middle, weights_.middle_norm.value, eps_);
    normed = std::move(result.value);
    saved.middle_rstd = std::move(result.rstd);
  }
  widen(saved, normed);
}

// From the MLP's normed input to gate and up.
void DecoderLayer::widen(LayerSaved& saved, const at::Tensor& normed) const {
  const auto timer = context_.matmul();
  saved.gate_up = linear::apply(context_.path, normed, weights_.gate_up);
}

void DecoderLayer::remake(Keep level, const LayerChunk& chunk,
                          std::span<const AttentionSlice> slices, LayerSaved& saved) const {
  switch (level) {
    case Keep::kAttention:
      project(chunk, saved);
      expand(saved);
      return;
    case Keep::kInput:
      project(chunk, saved);
      attend(chunk, slices, saved);
      expand(saved);
      return;
    case Keep::kMlpInput:
      widen_again(saved);
      return;
    case Keep::kAll:
      return;
  }
}

// Gate and up again, where all that leads to them was kept.
void DecoderLayer::widen_again(LayerSaved& saved) const {
  at::Tensor normed;
  {
    const auto timer = context_.elementwise();
    normed = kernels::rms_norm_again(context_.path, saved.middle, saved.middle_rstd,
                                     weights_.middle_norm.value);
  }
  widen(saved, normed);
}

at::Tensor DecoderLayer::forward(const LayerChunk& chunk, std::span<const AttentionSlice> slices,
                                 LayerSaved& saved) const {
  project(chunk, saved);
  attend(chunk, slices, saved);
  expand(saved);
  at::Tensor hidden;
  {
    const auto timer = context_.elementwise();
    hidden = kernels::swiglu(context_.path, saved.gate_up);
  }
  const auto timer = context_.matmul();
  return linear::apply_add(context_.path, saved.middle, hidden, weights_.down);
}

// Gradient of `middle` from that of the output.
at::Tensor DecoderLayer::backward_mlp(LayerSaved& saved, const at::Tensor& output_grad) {
  at::Tensor hidden;  // its gradient, then silu(gate) * up itself
  {
    const auto timer = context_.matmul();
    hidden = linear::input_grad(context_.path, output_grad, weights_.down);
  }
  {
    const auto timer = context_.elementwise();
    kernels::swiglu_backward(context_.path, saved.gate_up, hidden);
  }
  at::Tensor grad;
  {
    const auto timer = context_.matmul();
    linear::weight_grad(context_.path, output_grad, hidden, weights_.down);
    hidden.reset();
    grad = linear::input_grad(context_.path, saved.gate_up, weights_.gate_up);
  }
  const auto timer = context_.elementwise();
  kernels::rms_norm_backward(context_.path, grad, saved.middle, saved.middle_rstd,
                             weights_.middle_norm.value, output_grad, weights_.middle_norm.grad);
  return grad;
}

at::Tensor DecoderLayer::backward_input(const LayerChunk& chunk, std::span<AttentionSlice> slices,
                                        LayerSaved& saved, const at::Tensor& output_grad) {
  const at::Tensor middle_grad = backward_mlp(saved, output_grad);
  at::Tensor attention_grad;
  {
    const auto timer = context_.matmul();
    attention_grad = linear::input_grad(context_.path, middle_grad, weights_.output);
    linear::weight_grad(context_.path, middle_grad, attended_tokens(saved), weights_.output);
  }
  kernels::QueryKeyValue grad = attend_backward(chunk, slices, saved, std::move(attention_grad));
  {
    const auto timer = context_.elementwise();
    saved.qkv_grad = kernels::rope_merge(context_.path, grad, chunk.positions, chunk.rope_table,
                                         heads_, saved.input.scalar_type());
    grad = {};
    if (weights_.query_norm.value.defined()) norm_heads_backward(saved);
    if (weights_.qkv_bias.value.defined()) linear::bias_grad(saved.qkv_grad, weights_.qkv_bias);
  }
  at::Tensor input_grad;
  {
    const auto timer = context_.matmul();
    input_grad = linear::input_grad(context_.path, saved.qkv_grad, weights_.qkv);
  }
  const auto timer = context_.elementwise();
  kernels::rms_norm_backward(context_.path, input_grad, saved.input, saved.input_rstd,
                             weights_.input_norm.value, middle_grad, weights_.input_norm.grad);
  return input_grad;
}

void DecoderLayer::backward_weight(LayerSaved& saved) {
  const auto one = [&](const at::Tensor& x, const at::Tensor& rstd, const Weight& norm,
                       const at::Tensor& grad, Weight& weight) {
    at::Tensor normed;
    {
      const auto timer = context_.elementwise();
      normed = kernels::rms_norm_again(context_.path, x, rstd, norm.value);
    }
    const auto timer = context_.matmul();
    linear::weight_grad(context_.path, grad, normed, weight);
  };
  one(saved.middle, saved.middle_rstd, weights_.middle_norm, saved.gate_up, weights_.gate_up);
  saved.middle.reset();
  saved.gate_up.reset();
  one(saved.input, saved.input_rstd, weights_.input_norm, saved.qkv_grad, weights_.qkv);
  saved = LayerSaved{};
}

}  // namespace infinipipe::decoder
