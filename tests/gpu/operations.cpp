// How fast each operation is at the shapes of the presets 1b and 8b. Bytes of a kernel are those of
// the table in docs/gpu.md, FLOPs those of core/layer_costs.h; shares of the ceilings are the
// summary's work.
#include "core/layer_costs.h"
#include "gpu/calls.h"
#include "model/common/fused/launchers.h"
#include "runtime/optimizer_loops_aten.h"

namespace infinipipe::gpu_check {
namespace {

using kernels::Heads;
constexpr at::ScalarType kType = at::kBFloat16;

struct Shape {
  std::string name;
  ModelSpec model;
};

// One shape's operations, most telling first, so that what no longer fits the time is the least.
class Operations final {
 public:
  Operations(const Setting& setting, Report& report, const Shape& shape)
      : setting_(setting), report_(report), model_(shape.model), name_(shape.name + ".") {}

  void attention(Tokens tokens, int pieces) {
    if (!report_.has_time()) return left_out("attention", tokens);
    const Heads heads = heads_of();
    const Tokens own = tokens / pieces;
    std::vector<KvBlock> blocks;
    for (int i = 0; i + 1 < pieces; ++i) {
      const Tokens begin = i * own;
      blocks.push_back(
          {begin, begin + own, draw(own, heads.kv_width()), draw(own, heads.kv_width()), {}, {}});
    }
    const at::Tensor query = draw(own, heads.query_width()), key = draw(own, heads.kv_width()),
                     value = draw(own, heads.kv_width()), grad = draw(own, heads.query_width());
    std::vector<AttentionSlice> slices = {{0, own, blocks, {}, {}}};
    const auto context = static_cast<double>(tokens - own);
    const double pairs =
        static_cast<double>(tokens) * static_cast<double>(tokens) - context * context;
    const double flops = layer_flops_per_token2(model_) * pairs;
    AttentionResult result =
        on_device::attention_forward(setting_, heads, query, key, value, slices);
    const std::string what =
        "attention." + label(tokens) + "." + std::to_string(pieces) + "_pieces";
    rate(what + ".forward", flops, tokens > 65536 ? 3 : 7, [&](int) {
      result = on_device::attention_forward(setting_, heads, query, key, value, slices);
    });
    rate(what + ".backward", kAttentionBackward * flops, tokens > 65536 ? 3 : 7, [&](int) {
      on_device::attention_backward(setting_, heads, grad,
                                    kernels::QueryKeyValue{query, key, value}, result, slices);
    });
  }

  // Chunks of short documents, where starting kernels counts.
  void packed(Tokens tokens, Tokens document) {
    if (!report_.has_time()) return left_out("packed", tokens);
    const Heads heads = heads_of();
    std::vector<AttentionSlice> slices;
    for (Tokens row = 0; row < tokens; row += document)
      slices.push_back({row, row + document, {}, {}, {}});
    const at::Tensor query = draw(tokens, heads.query_width()),
                     grad = draw(tokens, heads.query_width()), key = draw(tokens, heads.kv_width()),
                     value = draw(tokens, heads.kv_width());
    AttentionResult result;
    const std::string what = "packed." + label(tokens) + "_of_" + std::to_string(document);
    seconds(what + ".forward", 7, [&](int) {
      result = on_device::attention_forward(setting_, heads, query, key, value, slices);
    });
    seconds(what + ".backward", 7, [&](int) {
      on_device::attention_backward(setting_, heads, grad,
                                    kernels::QueryKeyValue{query, key, value}, result, slices);
    });
  }

  void cudnn(Tokens tokens) {
    if (!setting_.gpu()) return report_.skipped(name_ + "cudnn", "needs a GPU");
    if (!report_.has_time()) return left_out("cudnn", tokens);
    const Heads heads = heads_of();
    const auto by_head = [&](std::int64_t count) {
      return draw(tokens, count * heads.dim).view({1, tokens, count, heads.dim}).transpose(1, 2);
    };
    const at::Tensor query = by_head(heads.query), key = by_head(heads.key_value),
                     value = by_head(heads.key_value), grad = by_head(heads.query);
    const std::string what = "cudnn." + label(tokens);
    const auto forward = [&] {
      return at::_cudnn_attention_forward(query, key, value, {}, {}, {}, tokens, tokens, true, 0.0,
                                          true, false);
    };
    try {
      const double begin = now();
      auto result = forward();
      synchronize(setting_);
      report_.value(name_ + what + ".first_call", now() - begin, "s");
      const double flops = layer_flops_per_token2(model_) * static_cast<double>(tokens * tokens);
      rate(what + ".forward", flops, 5, [&](int) { result = forward(); });
      rate(what + ".backward", kAttentionBackward * flops, 5, [&](int) {
        at::_cudnn_attention_backward(grad, query, key, value, std::get<0>(result),
                                      std::get<1>(result), std::get<6>(result), std::get<7>(result),
                                      {}, {}, {}, tokens, tokens, 0.0, true);
      });
    } catch (const c10::Error& error) {
      const std::string line = error.what_without_backtrace();
      report_.skipped(name_ + what, "refused: " + line.substr(0, line.find('\n')));
    }
  }

  void projections(Tokens tokens) {
    if (!report_.has_time()) return left_out("linear", tokens);
    const std::int64_t in = model_.hidden_size, out = 2 * model_.intermediate_size;
    Weight weight{draw(out, in), at::Tensor(), at::zeros({out, in}, setting_.of(at::kFloat))};
    const at::Tensor x = draw(tokens, in), grad = draw(tokens, out);
    const double flops = 2.0 * static_cast<double>(tokens * in * out);
    const std::string what = "linear." + label(tokens);
    rate(what + ".forward", flops, 7, [&](int) { on_device::apply(setting_, x, weight); });
    rate(what + ".input_grad", flops, 7,
         [&](int) { on_device::input_grad(setting_, grad, weight); });
    rate(what + ".weight_grad", flops, 7,
         [&](int) { on_device::weight_grad(setting_, grad, x, weight); });
    if (!setting_.gpu())
      return report_.skipped(name_ + what + ".weight_grad_in_place", "needs a GPU");
    rate(what + ".weight_grad_in_place", flops, 7,
         [&](int) { at::addmm_out(weight.grad, weight.grad, grad.t(), x, at::kFloat); });
  }

  void kernels_of(Tokens tokens) {
    if (!report_.has_time()) return left_out("kernels", tokens);
    const std::int64_t hidden = model_.hidden_size, middle = model_.intermediate_size;
    const Heads heads = heads_of();
    const std::int64_t width = heads.query_width() + 2 * heads.kv_width();
    const auto t = static_cast<double>(tokens);
    const int copies = rotated(2.0 * t * static_cast<double>(middle));
    const std::string at = "." + label(tokens);
    std::vector<at::Tensor> x, grad, qkv, gate_up, middle_grad;
    for (int i = 0; i < copies; ++i) {
      x.push_back(draw(tokens, hidden));
      grad.push_back(draw(tokens, hidden));
      qkv.push_back(draw(tokens, width));
      gate_up.push_back(draw(tokens, 2 * middle));
      middle_grad.push_back(draw(tokens, middle));
    }
    const auto of = [&](const std::vector<at::Tensor>& all, int i) {
      return all[static_cast<std::size_t>(i % copies)];
    };
    const at::Tensor weight = at::ones({hidden}, setting_.of(at::kFloat));
    at::Tensor sum = at::zeros({hidden}, setting_.of(at::kFloat));
    const at::Tensor positions = at::arange(tokens, setting_.of(at::kLong));
    const at::Tensor table = at::randn({tokens, heads.dim}, setting_.of(at::kFloat));
    const at::Tensor rstd = on_device::rms_norm(setting_, x[0], weight, 1e-5).rstd;
    const auto d = static_cast<double>(hidden), w = static_cast<double>(width),
               m = static_cast<double>(middle);
    moved("rms_norm" + at, 4 * d * t,
          [&](int i) { on_device::rms_norm(setting_, of(x, i), weight, 1e-5); });
    moved("rms_norm_backward" + at, 6 * d * t, [&](int i) {
      at::Tensor g = of(grad, i);
      on_device::rms_norm_backward(setting_, g, of(x, i), rstd, weight, at::Tensor(), sum);
    });
    kernels::QueryKeyValue split;
    moved("rope_split" + at, 4 * w * t, [&](int i) {
      split = on_device::rope_split(setting_, of(qkv, i), positions, table, heads);
    });
    moved("rope_merge" + at, 4 * w * t,
          [&](int) { on_device::rope_merge(setting_, split, positions, table, heads, kType); });
    moved("swiglu" + at, 6 * m * t, [&](int i) { on_device::swiglu(setting_, of(gate_up, i)); });
    moved("swiglu_backward" + at, 12 * m * t, [&](int i) {
      at::Tensor gate = of(gate_up, i), g = of(middle_grad, i);
      on_device::swiglu_backward(setting_, gate, g);
    });
  }

  // The head of 8192 tokens, by the block of tokens whose logits exist at a time.
  void head(Tokens block) {
    if (!report_.has_time()) return left_out("head", block);
    const Tokens tokens = setting_.small ? 128 : 8192;
    const std::int64_t d = model_.hidden_size, v = model_.vocab_size;
    Weight norm{
        at::ones({d}, setting_.of(at::kFloat)), {}, at::zeros({d}, setting_.of(at::kFloat))};
    Weight projection{draw(v, d), {}, at::zeros({v, d}, setting_.of(at::kFloat))};
    const auto context = head_context(setting_);
    Head head(model_, norm, projection, block, context);
    const at::Tensor hidden = draw(tokens, d);
    ChunkTargets targets{at::zeros({tokens}, setting_.of(at::kLong)),
                         at::ones({tokens}, setting_.of(at::kFloat)), 1.0};
    rate("head.block_" + std::to_string(block),
         3.0 * head_flops_per_token(model_) * static_cast<double>(tokens), 3,
         [&](int) { head.loss(hidden, targets, true); });
  }

  void optimizer() {
    if (!report_.has_time()) return left_out("adamw", 0);
    const std::int64_t count = setting_.small ? 1 << 16 : std::int64_t{1} << 28;
    const auto numbers = [&] { return at::rand({count}, setting_.of(at::kFloat)); };
    const at::Tensor weight = numbers(), grad = numbers(), first = numbers(), second = numbers();
    const at::Tensor copy = at::zeros({count}, setting_.of(kType));
    const fused::Launchers* const launchers = setting_.gpu() ? fused::launchers() : nullptr;
    const auto n = static_cast<double>(count);
    moved("adamw", 30.0 * n,
          [&](int) { device_loops::adamw(launchers, weight, grad, first, second, copy, {}); });
    const std::vector<at::Tensor> all = {grad};
    moved("squares", 4.0 * n, [&](int) { device_loops::sum_of_squares(launchers, all); });
  }

 private:
  Heads heads_of() const {
    return {model_.num_attention_heads, model_.num_key_value_heads, model_.resolved_head_dim(), 0};
  }
  at::Tensor draw(std::int64_t rows, std::int64_t columns) const {
    return at::randn({rows, columns}, setting_.of(at::kFloat)).to(kType);
  }
  static std::string label(Tokens tokens) {
    return tokens >= 1024 ? std::to_string(tokens / 1024) + "K" : std::to_string(tokens);
  }
  void left_out(const std::string& what, Tokens tokens) {
    report_.skipped(name_ + what + "." + label(tokens), "no time left");
  }
  template <class Work>
  void rate(const std::string& what, double flops, int repeats, const Work& work) {
    report_.value(name_ + what, flops / median_seconds(setting_, repeats, work), "FLOP/s");
  }
  template <class Work>
  void moved(const std::string& what, double bytes, const Work& work) {
    report_.value(name_ + what, bytes / median_seconds(setting_, 9, work), "B/s");
  }
  template <class Work>
  void seconds(const std::string& what, int repeats, const Work& work) {
    report_.value(name_ + what, median_seconds(setting_, repeats, work), "s");
  }

  const Setting& setting_;
  Report& report_;
  ModelSpec model_;
  std::string name_;
};

}  // namespace

void measure_operations(const Setting& setting, Report& report) {
  if (setting.small) {
    ModelSpec model;
    model.vocab_size = 61;
    Operations small(setting, report, {"small", model});
    small.attention(64, 1);
    small.attention(128, 4);
    small.packed(64, 16);
    small.cudnn(64);
    small.projections(64);
    small.kernels_of(64);
    small.head(32);
    small.optimizer();
    return;
  }
  for (const char* preset : {"1b", "8b"}) {
    Operations of(setting, report, {preset, model_preset(preset)});
    of.attention(32768, 1);
    of.attention(32768, 8);
    of.cudnn(32768);
    of.packed(8192, 64);
    for (const Tokens block : {256, 1024, 4096, 8192}) of.head(block);
    for (const Tokens tokens : {8192, 1024, 32768}) {
      of.projections(tokens);
      of.kernels_of(tokens);
    }
    of.attention(8192, 1);
    of.cudnn(8192);
    of.attention(131072, 1);
    of.attention(131072, 8);
    of.cudnn(131072);
  }
  Operations(setting, report, {"1b", model_preset("1b")}).optimizer();
}

}  // namespace infinipipe::gpu_check
