// Attention against float64 on the processor: whole slices, slices behind stored keys, packed ones,
// all ways of grouping heads; and cuDNN's kernels, which may take a piece's place.
#include "gpu/calls.h"

namespace infinipipe::gpu_check {
namespace {

using kernels::Heads;
using kernels::QueryKeyValue;

struct Case {
  Heads heads;
  std::vector<Tokens> slices;   // in one chunk
  std::vector<Tokens> context;  // blocks before the first slice
};

Case random_case(Random& random, bool small) {
  Case c;
  c.heads.key_value = random.between(1, 2);
  c.heads.query = c.heads.key_value << (2 * random.between(0, 1) + random.between(0, 1));  // 1 to 8
  c.heads.dim = random.between(0, 1) == 0 ? 64 : 128;
  const Tokens most = small ? 90 : 700;
  const std::int64_t slices = random.between(0, 1) == 0 ? 1 : random.between(2, 6);
  for (std::int64_t i = 0; i < slices; ++i) c.slices.push_back(random.between(1, most));
  const std::int64_t blocks = random.between(0, 3);
  for (std::int64_t i = 0; i < blocks; ++i) c.context.push_back(random.between(1, most));
  if (random.between(0, 3) == 0) c.heads.window = random.between(1, most);
  return c;
}

// Everything that goes in, in float64 on the processor, rounded to the dtype that is tested.
struct Inputs {
  QueryKeyValue own;
  at::Tensor output_grad;
  std::vector<QueryKeyValue> context;  // query undefined
};

Inputs random_inputs(Random& random, const Case& c, at::ScalarType dtype) {
  Tokens tokens = 0;
  for (const Tokens slice : c.slices) tokens += slice;
  const auto draw = [&](Tokens rows, std::int64_t width) {
    return random_numbers(random, {rows, width}).to(dtype).to(at::kDouble);
  };
  Inputs inputs{{draw(tokens, c.heads.query_width()), draw(tokens, c.heads.kv_width()),
                 draw(tokens, c.heads.kv_width())},
                draw(tokens, c.heads.query_width()),
                {}};
  for (const Tokens block : c.context) {
    inputs.context.push_back(
        {{}, draw(block, c.heads.kv_width()), draw(block, c.heads.kv_width())});
  }
  return inputs;
}

struct Outputs {
  AttentionResult result;
  QueryKeyValue grad;
  std::vector<QueryKeyValue> context_grad;
};

Outputs run(const Setting& setting, const Case& c, const Inputs& inputs, at::ScalarType dtype) {
  const at::TensorOptions options = setting.of(dtype);
  const auto on = [&](const at::Tensor& x) { return x.to(options).contiguous(); };
  std::vector<KvBlock> blocks;
  Tokens begin = 0;
  for (const QueryKeyValue& block : inputs.context) {
    const Tokens end = begin + block.key.size(0);
    blocks.push_back({begin, end, on(block.key), on(block.value), {}, {}});
    begin = end;
  }
  std::vector<AttentionSlice> slices;
  Tokens row = 0;
  for (const Tokens slice : c.slices) {
    slices.push_back({row, row + slice, {}, {}, {}});
    row += slice;
  }
  slices[0].context = blocks;
  const QueryKeyValue own{on(inputs.own.query), on(inputs.own.key), on(inputs.own.value)};
  Outputs outputs;
  outputs.result =
      on_device::attention_forward(setting, c.heads, own.query, own.key, own.value, slices);
  outputs.grad = on_device::attention_backward(setting, c.heads, on(inputs.output_grad), own,
                                               outputs.result, slices);
  for (KvBlock& block : blocks)
    outputs.context_grad.push_back({{}, block.key_grad, block.value_grad});
  return outputs;
}

// A sliding window may hide a whole block, whose gradient then is none.
at::Tensor or_zeros(const at::Tensor& grad, const at::Tensor& like) {
  return grad.defined() ? grad : at::zeros_like(like);
}

void add_errors(const std::string& prefix, const Outputs& found, const Outputs& expected,
                const Inputs& inputs, Worst& worst) {
  worst.add(prefix + "output", relative_error(found.result.output, expected.result.output));
  worst.add(prefix + "lse", relative_error(found.result.lse, expected.result.lse));
  worst.add(prefix + "query_grad", relative_error(found.grad.query, expected.grad.query));
  worst.add(prefix + "key_grad", relative_error(found.grad.key, expected.grad.key));
  worst.add(prefix + "value_grad", relative_error(found.grad.value, expected.grad.value));
  for (std::size_t i = 0; i < inputs.context.size(); ++i) {
    const QueryKeyValue& a = found.context_grad[i];
    const QueryKeyValue& b = expected.context_grad[i];
    const at::Tensor& like = inputs.context[i].key;
    worst.add(prefix + "context_key_grad",
              relative_error(or_zeros(a.key, like), or_zeros(b.key, like)));
    worst.add(prefix + "context_value_grad",
              relative_error(or_zeros(a.value, like), or_zeros(b.value, like)));
  }
}

void check_dtype(const Setting& setting, Report& report, at::ScalarType dtype, double bound) {
  const int cases = setting.small ? 12 : 120;
  Setting exact;
  exact.plain = true;
  Worst worst;
  int done = 0;
  for (; done < cases && report.has_time(); ++done) {
    Random random(31, static_cast<std::uint64_t>(done));
    const Case c = random_case(random, setting.small);
    const Inputs inputs = random_inputs(random, c, dtype);
    const Outputs expected = run(exact, c, inputs, at::kDouble);
    add_errors(std::string(toString(dtype)) + ".", run(setting, c, inputs, dtype), expected, inputs,
               worst);
  }
  std::printf("  %d of %d random cases in %s\n", done, cases, toString(dtype));
  worst.tell(report, bound);
}

// One square causal piece and one full one, as [1, H, S, d] by strides.
void check_cudnn(const Setting& setting, Report& report) {
  Worst worst;
  for (const std::int64_t dim : {64, 128}) {
    for (const bool causal : {true, false}) {
      Random random(7, static_cast<std::uint64_t>(dim));
      const std::int64_t queries = 512, keys = causal ? queries : 384, heads = 8, kv_heads = 2;
      Case c{{heads, kv_heads, dim, 0}, {queries}, {}};
      const auto draw = [&](std::int64_t rows, std::int64_t count) {
        return random_numbers(random, {rows, count, dim}).to(at::kBFloat16).to(at::kDouble);
      };
      const at::Tensor query = draw(queries, heads), key = draw(keys, kv_heads),
                       value = draw(keys, kv_heads), grad = draw(queries, heads);
      // Softmax over all or earlier keys, and its gradients, as written in a textbook.
      const auto repeat = [&](const at::Tensor& x) {
        return x.repeat_interleave(heads / kv_heads, 1).transpose(0, 1);
      };
      const at::Tensor q = query.transpose(0, 1), k = repeat(key), v = repeat(value);
      const double scale = 1.0 / std::sqrt(static_cast<double>(dim));
      at::Tensor scores = at::matmul(q, k.transpose(1, 2)) * scale;
      if (causal) {
        scores = scores.masked_fill(at::ones({queries, keys}, at::kBool).tril().logical_not(),
                                    -std::numeric_limits<double>::infinity());
      }
      const at::Tensor lse = scores.logsumexp(-1), p = scores.softmax(-1);
      const at::Tensor output = at::matmul(p, v), g = grad.transpose(0, 1);
      const at::Tensor p_grad = at::matmul(g, v.transpose(1, 2));
      const at::Tensor s_grad = p * (p_grad - (g * output).sum(-1, true)) * scale;
      const auto sum_groups = [&](const at::Tensor& x) {
        return x.reshape({kv_heads, heads / kv_heads, keys, dim}).sum(1);
      };
      const auto on = [&](const at::Tensor& x) {
        return x.to(setting.of(at::kBFloat16)).transpose(0, 1).unsqueeze(0);
      };
      const std::string name = std::string("cudnn.") + (causal ? "causal." : "full.");
      try {
        const auto forward = at::_cudnn_attention_forward(on(query), on(key), on(value), {}, {}, {},
                                                          queries, keys, true, 0.0, causal, false);
        const at::Tensor& out = std::get<0>(forward);
        const auto& logsumexp = std::get<1>(forward);
        const auto [dq, dk, dv] = at::_cudnn_attention_backward(
            on(grad), on(query), on(key), on(value), out, logsumexp, std::get<6>(forward),
            std::get<7>(forward), {}, {}, {}, queries, keys, 0.0, causal);
        worst.add(name + "output", relative_error(out.squeeze(0), output));
        worst.add(name + "lse", relative_error(logsumexp.reshape({heads, queries}), lse));
        worst.add(name + "query_grad", relative_error(dq.squeeze(0), at::matmul(s_grad, k)));
        worst.add(name + "key_grad",
                  relative_error(dk.squeeze(0), sum_groups(at::matmul(s_grad.transpose(1, 2), q))));
        worst.add(name + "value_grad",
                  relative_error(dv.squeeze(0), sum_groups(at::matmul(p.transpose(1, 2), g))));
      } catch (const c10::Error& error) {
        const std::string line = error.what_without_backtrace();
        report.skipped(name + "dim_" + std::to_string(dim),
                       "refused: " + line.substr(0, line.find('\n')));
      }
    }
  }
  worst.tell(report, 1e-2);
}

}  // namespace

void check_attention(const Setting& setting, Report& report) {
  check_dtype(setting, report, at::kFloat, 1e-5);
  check_dtype(setting, report, at::kBFloat16, 1e-2);
  if (setting.gpu()) {
    check_cudnn(setting, report);
  } else {
    report.skipped("cudnn", "needs a GPU");
  }
  report.skipped("cudnn.own_graphs", "not built");
}

}  // namespace infinipipe::gpu_check
